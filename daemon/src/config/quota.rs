//! Quotas as options: `NAME=VALUE` on the command line, a table in a file.

use std::fmt;
use std::fmt::Write;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use super::value::Text;
use crate::device::quota::{Quota, QuotaError, Quotas, Scope};
use crate::size::{self, SizeError};

/// A quota that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Of what.
    pub quota: Quota,
    /// How much.
    pub value: u64,
}

/// Why text is no quota.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    /// No equals sign.
    #[error("not NAME=VALUE")]
    Syntax,
    /// No such name.
    #[error("no quota has this name; there are {}", names(*.0))]
    Name(Scope),
    /// Not a number.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// A value that does not work.
    #[error(transparent)]
    Quota(#[from] QuotaError),
}

impl Limit {
    fn new(scope: Scope, quota: Quota, value: u64) -> Result<Self, QuotaError> {
        Quotas::default().set(scope, quota, value)?;
        Ok(Self { quota, value })
    }

    fn parse(scope: Scope, text: &str) -> Result<Self, LimitError> {
        let (name, value) = text.split_once('=').ok_or(LimitError::Syntax)?;
        let quota = named(scope, name)?;
        Ok(Self::new(scope, quota, size::parse(value)?)?)
    }
}

/// `--quota`
pub fn parse_vm(text: &str) -> Result<Limit, LimitError> {
    Limit::parse(Scope::Vm, text)
}

/// `--context-quota`
pub fn parse_context(text: &str) -> Result<Limit, LimitError> {
    Limit::parse(Scope::Context, text)
}

/// `[quota]`
pub fn table_vm<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Limit>, D::Error> {
    deserializer.deserialize_map(Table(Scope::Vm))
}

/// `[context-quota]`
pub fn table_context<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Limit>, D::Error> {
    deserializer.deserialize_map(Table(Scope::Context))
}

/// The help of `--quota`.
pub fn help_vm() -> String {
    let what = "Let the VM have no more than this. Over it, a command of the guest fails as out of \
                memory. The names, and the values without this option, are:";
    help(what, Scope::Vm)
}

/// The help of `--context-quota`.
pub fn help_context() -> String {
    let what = "Let each context, that is each program of the guest that uses the GPU, have no more \
                than this. The names, and the values without this option, are:";
    help(what, Scope::Context)
}

fn help(what: &str, scope: Scope) -> String {
    let mut text = format!("{what}\n");
    for quota in of(scope) {
        let default = quota
            .default_of(scope)
            .map(size::format)
            .unwrap_or_default();
        let (name, meaning) = (quota.name(), meaning(quota));
        // Writing to a string does not fail.
        let _ = write!(text, "\n{name:16}{default:>5}  {meaning}");
    }
    text
}

fn meaning(quota: Quota) -> &'static str {
    match quota {
        Quota::BlobBytes => "bytes of blobs that the renderer allocates",
        Quota::ImageBytes => "bytes of 2D images",
        Quota::Resources => "resources: images and blobs",
        Quota::Attachments => "resources that contexts may use, once per context",
        Quota::Contexts => "contexts",
        Quota::Mappings => "blobs mapped at a time; QEMU aborts above about 500",
        Quota::Fences => "fences that are not complete",
        Quota::SubmitBytes => "bytes of one command stream",
        Quota::BackingEntries => "ranges of guest memory behind resources",
        Quota::Jobs => "copies, fills and accesses of blob contexts that wait for the GPU",
        Quota::Brackets => "accesses that blob contexts have begun",
    }
}

fn of(scope: Scope) -> impl Iterator<Item = Quota> {
    let counted = move |quota: &Quota| quota.default_of(scope).is_some();
    Quota::ALL.into_iter().filter(counted)
}

fn names(scope: Scope) -> String {
    let names: Vec<_> = of(scope).map(Quota::name).collect();
    names.join(", ")
}

fn named(scope: Scope, name: &str) -> Result<Quota, LimitError> {
    of(scope)
        .find(|quota| quota.name() == name)
        .ok_or(LimitError::Name(scope))
}

/// A table of quotas. Each key and value is checked where it stands, so that an error has its line.
struct Table(Scope);

impl<'de> Visitor<'de> for Table {
    type Value = Vec<Limit>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a table with the keys {}", names(self.0))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<Limit>, A::Error> {
        let Self(scope) = self;
        let mut limits = Vec::new();
        while let Some(quota) = map.next_key_seed(Key(scope))? {
            limits.push(map.next_value_seed(Value { scope, quota })?);
        }
        Ok(limits)
    }
}

struct Key(Scope);

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Quota;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Quota, D::Error> {
        let name = String::deserialize(deserializer)?;
        named(self.0, &name).map_err(|error| D::Error::custom(format_args!("{name}: {error}")))
    }
}

struct Value {
    scope: Scope,
    quota: Quota,
}

impl<'de> DeserializeSeed<'de> for Value {
    type Value = Limit;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Limit, D::Error> {
        let Text(Size(value)) = Text::deserialize(deserializer)?;
        Limit::new(self.scope, self.quota, value).map_err(D::Error::custom)
    }
}

struct Size(u64);

impl std::str::FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        size::parse(text).map(Self)
    }
}
