//! Compiles `seccomp/*.policy` to BPF, for each thing that can happen to other calls.
//!
//! A policy is a text of lines, each with a comment that says what the call is for:
//!
//! ```text
//! include NAME                      all of another policy
//! CALL  # why                       allow
//! CALL [argN & MASK == VALUE, ...]  # why; lines of one call are alternatives
//! ?CALL ...                         where this processor's kernel has such a call
//! jit CALL ...                      where the Vulkan driver is a compiler
//! refuse ERRNO CALL  # why          let it fail with this number
//! ```

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

use seccompiler::{BpfProgram, TargetArch, compile_from_json};

/// Policies that are put on something; the others are there to be included.
const INSTALLED: [&str; 10] = [
    "process",
    "main",
    "device",
    "context",
    "reload",
    "control",
    "sync",
    "last-resort",
    "render-server",
    "keeper",
];

const ACTIONS: [&str; 3] = ["\"kill_process\"", "\"trap\"", "\"log\""];

#[derive(Default)]
struct Rules {
    /// JSON of each rule, without those that another line has too.
    allowed: Vec<String>,
    refused: BTreeMap<u32, Vec<String>>,
}

struct Compiler {
    folder: PathBuf,
    arch: TargetArch,
    jit: bool,
}

fn main() {
    println!("cargo:rerun-if-changed=seccomp");
    println!("cargo:rerun-if-changed=build.rs");
    let arch = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo names the architecture");
    let arch = TargetArch::try_from(arch.as_str()).expect("an architecture with seccomp filters");
    let folder = Path::new(&env::var_os("CARGO_MANIFEST_DIR").expect("cargo names the folder"))
        .join("seccomp");
    let mut text = String::from("static POLICIES: &[Compiled] = &[\n");
    for jit in [false, true] {
        let compiler = Compiler {
            folder: folder.clone(),
            arch,
            jit,
        };
        for name in INSTALLED {
            compiler.write(name, &mut text);
        }
    }
    text.push_str("];\n");
    let out = env::var_os("OUT_DIR").expect("cargo names a folder for output");
    fs::write(Path::new(&out).join("policies.rs"), text).expect("write the compiled policies");
}

impl Compiler {
    /// Appends a policy as Rust.
    fn write(&self, name: &str, text: &mut String) {
        let mut rules = Rules::default();
        self.read(name, &mut rules);
        // What fails with an error has to get past the allow-list.
        let mut all = rules.allowed.clone();
        all.extend(rules.refused.values().flatten().cloned());
        // The compiler takes a call without conditions for one of the others.
        let whole: Vec<String> = all
            .iter()
            .filter(|rule| !rule.contains("args"))
            .cloned()
            .collect();
        let is_whole = |rule: &String| {
            let call = rule.split(',').next().unwrap_or(rule);
            whole
                .iter()
                .any(|other| other.trim_end_matches('}') == call)
        };
        all.retain(|rule| !rule.contains("args") || !is_whole(rule));
        let suffix = if self.jit { "+jit" } else { "" };
        let _ = writeln!(text, "Compiled {{ name: \"{name}{suffix}\", allowed: [");
        for action in ACTIONS {
            let _ = writeln!(text, "&{:?},", self.compile(&all, action, "\"allow\""));
        }
        let _ = writeln!(text, "], refused: &[");
        for (errno, calls) in &rules.refused {
            let action = format!("{{\"errno\": {errno}}}");
            let _ = writeln!(text, "&{:?},", self.compile(calls, "\"allow\"", &action));
        }
        let _ = writeln!(text, "] }},");
    }

    fn read(&self, name: &str, rules: &mut Rules) {
        let path = self.folder.join(format!("{name}.policy"));
        let text = fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
        for (index, line) in text.lines().enumerate() {
            let wrong = |what: &str| -> ! {
                panic!("{}, line {}: {what}", path.display(), index + 1);
            };
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(other) = line.strip_prefix("include ") {
                self.read(other.trim(), rules);
                continue;
            }
            let Some((line, _)) = line
                .split_once('#')
                .filter(|(_, why)| !why.trim().is_empty())
            else {
                wrong("a call without a comment that says what it is for");
            };
            let line = match line.strip_prefix("jit ") {
                Some(_) if !self.jit => continue,
                Some(line) => line,
                None => line,
            };
            if let Some(rest) = line.strip_prefix("refuse ") {
                let Some((errno, call)) = rest.trim().split_once(' ') else {
                    wrong("refuse has a number and a call");
                };
                let errno = errno.parse().unwrap_or_else(|_| wrong("not a number"));
                if let Some(rule) = self.rule(call) {
                    rules.refused.entry(errno).or_default().push(rule);
                }
            } else if let Some(rule) = self.rule(line)
                && !rules.allowed.contains(&rule)
            {
                rules.allowed.push(rule);
            }
        }
    }

    /// JSON of `CALL [conditions]`; `None` if the architecture has no such call and need not.
    fn rule(&self, line: &str) -> Option<String> {
        let (call, conditions) = match line.split_once('[') {
            Some((call, rest)) => (call.trim(), rest.trim().strip_suffix(']')),
            None => (line.trim(), None),
        };
        let (call, optional) = match call.strip_prefix('?') {
            Some(call) => (call, true),
            None => (call, false),
        };
        let arguments: Vec<String> = conditions
            .into_iter()
            .flat_map(|all| all.split(','))
            .map(condition)
            .collect();
        let arguments = if arguments.is_empty() {
            String::new()
        } else {
            format!(", \"args\": [{}]", arguments.join(", "))
        };
        let rule = format!("{{\"syscall\": \"{call}\"{arguments}}}");
        let known = self
            .try_compile(std::slice::from_ref(&rule), "\"log\"", "\"allow\"")
            .is_ok();
        (known || !optional).then_some(rule)
    }

    fn compile(&self, rules: &[String], otherwise: &str, matched: &str) -> Vec<u64> {
        let program = self
            .try_compile(rules, otherwise, matched)
            .unwrap_or_else(|error| panic!("{error}"));
        let word = |instruction: &seccompiler::sock_filter| {
            let [k0, k1, k2, k3] = instruction.k.to_le_bytes();
            let [c0, c1] = instruction.code.to_le_bytes();
            u64::from_le_bytes([c0, c1, instruction.jt, instruction.jf, k0, k1, k2, k3])
        };
        program.iter().map(word).collect()
    }

    fn try_compile(
        &self,
        rules: &[String],
        otherwise: &str,
        matched: &str,
    ) -> Result<BpfProgram, seccompiler::Error> {
        let json = format!(
            "{{\"it\": {{\"mismatch_action\": {otherwise}, \"match_action\": {matched}, \
             \"filter\": [{}]}}}}",
            rules.join(", ")
        );
        let mut programs = compile_from_json(json.as_bytes(), self.arch)?;
        Ok(programs.remove("it").unwrap_or_default())
    }
}

/// JSON of `argN == VALUE` or `argN & MASK == VALUE`.
fn condition(text: &str) -> String {
    let wrong = || -> ! { panic!("not a condition: {text}") };
    let Some((left, value)) = text.split_once("==") else {
        wrong();
    };
    let (argument, mask) = match left.split_once('&') {
        Some((argument, mask)) => (argument, Some(number(mask))),
        None => (left, None),
    };
    let Some(index) = argument.trim().strip_prefix("arg") else {
        wrong();
    };
    // Bits that are compared and masked out would never count, and the compiler does not mind.
    if mask.is_some_and(|mask| number(value) & !mask != 0) {
        wrong();
    }
    let operator = match mask {
        Some(mask) => format!("{{\"masked_eq\": {mask}}}"),
        None => "\"eq\"".to_owned(),
    };
    format!(
        "{{\"index\": {index}, \"type\": \"qword\", \"op\": {operator}, \"val\": {}}}",
        number(value)
    )
}

fn number(text: &str) -> u64 {
    let text = text.trim();
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    }
    .unwrap_or_else(|_| panic!("not a number: {text}"))
}
