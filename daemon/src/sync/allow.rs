//! Who is let in: `--sync-allow`.

use std::str::FromStr;

use coherd_protocol::memory::Access;
use thiserror::Error;

use crate::credentials::Credentials;

/// Why text is no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not uid=N or gid=N, with :ro behind it for those who may only read")]
pub struct AllowError;

/// Whom a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    User(u32),
    Group(u32),
}

/// A rule: who may do what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allow {
    who: Who,
    access: Access,
}

impl Allow {
    /// Lets a user read and write.
    pub fn user(uid: u32) -> Self {
        Self {
            who: Who::User(uid),
            access: Access::READ | Access::WRITE,
        }
    }

    fn is_about(&self, peer: &Credentials) -> bool {
        match self.who {
            Who::User(uid) => peer.uid == uid,
            Who::Group(gid) => peer.gid == gid,
        }
    }
}

impl FromStr for Allow {
    type Err = AllowError;

    fn from_str(text: &str) -> Result<Self, AllowError> {
        let (text, access) = match text.strip_suffix(":ro") {
            Some(text) => (text, Access::READ),
            None => (text, Access::READ | Access::WRITE),
        };
        let (key, id) = text.split_once('=').ok_or(AllowError)?;
        let id = id.parse().map_err(|_| AllowError)?;
        let who = match key {
            "uid" => Who::User(id),
            "gid" => Who::Group(id),
            _ => return Err(AllowError),
        };
        Ok(Self { who, access })
    }
}

/// All rules. The first one that is about a process counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowList(Vec<Allow>);

impl AllowList {
    /// These rules and no others.
    pub fn new(rules: Vec<Allow>) -> Self {
        Self(rules)
    }

    /// What the process at the other end may do; `None` if it is not let in.
    pub fn access(&self, peer: &Credentials) -> Option<Access> {
        let rule = self.0.iter().find(|rule| rule.is_about(peer))?;
        Some(rule.access)
    }
}

impl Default for AllowList {
    /// The user that this process runs as, and root.
    fn default() -> Self {
        let own = rustix::process::geteuid().as_raw();
        Self(vec![Allow::user(own), Allow::user(0)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(uid: u32, gid: u32) -> Credentials {
        Credentials { pid: 1, uid, gid }
    }

    #[test]
    fn first_rule_about_a_process_counts() {
        let rules = ["uid=1000:ro", "gid=44", "uid=1001"];
        let rules = rules.map(|rule| rule.parse().unwrap());
        let list = AllowList::new(rules.to_vec());
        assert_eq!(list.access(&process(1000, 44)), Some(Access::READ));
        assert_eq!(list.access(&process(7, 44)), Some(Access::all()));
        assert_eq!(list.access(&process(1001, 7)), Some(Access::all()));
        assert_eq!(list.access(&process(7, 7)), None);
        assert_eq!(list.access(&process(0, 0)), None);
    }

    #[test]
    fn own_user_and_root_are_let_in_if_nothing_is_said() {
        let list = AllowList::default();
        let own = rustix::process::geteuid().as_raw();
        assert_eq!(list.access(&process(own, 7)), Some(Access::all()));
        assert_eq!(list.access(&process(0, 7)), Some(Access::all()));
        assert_eq!(list.access(&process(own + 1, 0)), None);
    }

    #[test]
    fn text_that_is_no_rule_is_refused() {
        for text in ["", "uid", "uid=", "uid=x", "uid=-1", "pid=1", "gid=1:rw"] {
            assert_eq!(text.parse::<Allow>(), Err(AllowError), "{text}");
        }
    }
}
