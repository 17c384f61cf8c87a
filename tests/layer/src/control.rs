//! Finding, loading and controlling the layer from a test.
//!
//! A test that depends on this crate has `libVkLayer_coherd_incoherent.so` built beside itself.
//! The functions here talk to that library, never to the copy of the code in the test.

use core::ffi::{CStr, c_char};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use ash::vk;
use libloading::Library;
use thiserror::Error;

/// The layer's name, for `ppEnabledLayerNames` or VK_INSTANCE_LAYERS.
pub const LAYER_NAME: &str = "VK_LAYER_COHERD_incoherent";

/// The library's file name.
pub const LIBRARY_NAME: &str = "libVkLayer_coherd_incoherent.so";

const MANIFEST_NAME: &str = "VkLayer_coherd_incoherent.json";

/// Why the layer cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The library is nowhere near this program.
    #[error("{LIBRARY_NAME} is not beside this program: run cargo build -p coherd-test-layer")]
    NoLibrary,
    /// The manifest could not be written.
    #[error("cannot write the layer's manifest")]
    Manifest(#[from] io::Error),
    /// The library cannot be loaded, or is an older one.
    #[error("cannot load {LIBRARY_NAME}")]
    Load(#[from] libloading::Error),
}

/// The layer's library, beside this program or one folder up.
///
/// # Errors
/// [`ControlError::NoLibrary`]
pub fn library() -> Result<PathBuf, ControlError> {
    let program = std::env::current_exe()?;
    program
        .ancestors()
        .skip(1)
        .take(2)
        .flat_map(|folder| [folder.join("deps"), folder.to_owned()])
        .map(|folder| folder.join(LIBRARY_NAME))
        .find(|library| library.is_file())
        .ok_or(ControlError::NoLibrary)
}

/// A manifest for the library at `library`, "Layer Manifest File Format" of LLI.
pub fn manifest(library: &Path) -> String {
    let library = library
        .display()
        .to_string()
        .replace('\\', "\\\\")
        .replace('"', "\\\"");
    format!(
        r#"{{
    "file_format_version": "1.2.0",
    "layer": {{
        "name": "{LAYER_NAME}",
        "type": "INSTANCE",
        "library_path": "{library}",
        "api_version": "1.4.0",
        "implementation_version": "1",
        "description": "Incoherent memory types and faults for tests"
    }}
}}
"#
    )
}

/// Writes the manifest of the library at `library` into `folder`, where the loader finds it if
/// VK_ADD_LAYER_PATH names the folder.
///
/// # Errors
/// [`ControlError::Manifest`]
pub fn install(library: &Path, folder: &Path) -> Result<(), ControlError> {
    std::fs::write(folder.join(MANIFEST_NAME), manifest(library))?;
    Ok(())
}

/// Lets `child` find the layer by the manifest in `folder`.
pub fn offer(child: &mut Command, folder: &Path) {
    // VK_ADD_LAYER_PATH is ignored where VK_LAYER_PATH is set.
    let variable = match std::env::var_os("VK_LAYER_PATH") {
        Some(_) => "VK_LAYER_PATH",
        None => "VK_ADD_LAYER_PATH",
    };
    append(child, variable, folder.as_os_str().to_owned());
}

/// As [`offer`], and has the loader put the layer into every instance of `child`, above the
/// layers that the program names itself.
pub fn enable(child: &mut Command, folder: &Path) {
    offer(child, folder);
    append(child, "VK_INSTANCE_LAYERS", LAYER_NAME.into());
}

/// Appends to a list in the child's environment, which starts as this program's.
fn append(child: &mut Command, variable: &str, value: OsString) {
    let inherited = child
        .get_envs()
        .find(|(name, _)| *name == variable)
        .map_or_else(
            || std::env::var_os(variable),
            |(_, set)| set.map(ToOwned::to_owned),
        );
    let value = match inherited {
        Some(mut list) if !list.is_empty() => {
            list.push(":");
            list.push(value);
            list
        }
        _ => value,
    };
    child.env(variable, value);
}

/// The layer's library, loaded into this process beside the loader's own use of it.
///
/// What is counted is counted for the whole process, so that only one test of a process may
/// look at it at a time.
#[derive(Debug)]
pub struct Controls {
    functions: Functions,
    /// Keeps the functions, and what is counted between two instances.
    _library: Library,
}

#[derive(Debug)]
struct Functions {
    fault_arm: extern "C" fn(u64, i32),
    fault_arm_command: unsafe extern "C" fn(*const c_char, u64, i32),
    fault_calls: extern "C" fn() -> u64,
    fault_name: extern "C" fn() -> *const c_char,
    live_objects: extern "C" fn() -> u64,
    live_describe: unsafe extern "C" fn(*mut c_char, usize) -> usize,
    flushes: extern "C" fn() -> u64,
    bytes_flushed: extern "C" fn() -> u64,
    invalidates: extern "C" fn() -> u64,
    bytes_invalidated: extern "C" fn() -> u64,
}

impl Controls {
    /// Loads the library from the path that the manifest names.
    ///
    /// # Errors
    /// [`ControlError::Load`]
    pub fn open(library: &Path) -> Result<Self, ControlError> {
        // SAFETY: the library's initialisers do nothing beyond those of Rust's runtime.
        let library = unsafe { Library::new(library) }?;
        // SAFETY: each function has the type that `exports.rs` gives it.
        let functions = unsafe {
            Functions {
                fault_arm: *library.get(b"coherd_layer_fault_arm\0")?,
                fault_arm_command: *library.get(b"coherd_layer_fault_arm_command\0")?,
                fault_calls: *library.get(b"coherd_layer_fault_calls\0")?,
                fault_name: *library.get(b"coherd_layer_fault_name\0")?,
                live_objects: *library.get(b"coherd_layer_live_objects\0")?,
                live_describe: *library.get(b"coherd_layer_live_describe\0")?,
                flushes: *library.get(b"coherd_layer_flushes\0")?,
                bytes_flushed: *library.get(b"coherd_layer_bytes_flushed\0")?,
                invalidates: *library.get(b"coherd_layer_invalidates\0")?,
                bytes_invalidated: *library.get(b"coherd_layer_bytes_invalidated\0")?,
            }
        };
        Ok(Self {
            functions,
            _library: library,
        })
    }

    /// Makes the `nth` fallible call from now fail with `result`; 0 for none. The count of calls
    /// starts anew.
    pub fn arm(&self, nth: u64, result: vk::Result) {
        (self.functions.fault_arm)(nth, result.as_raw());
    }

    /// As [`Self::arm`], but counts calls of `command` only, such as `vkQueueSubmit2`.
    pub fn arm_command(&self, command: &CStr, nth: u64, result: vk::Result) {
        // SAFETY: the string lives through the call.
        unsafe { (self.functions.fault_arm_command)(command.as_ptr(), nth, result.as_raw()) };
    }

    /// Calls counted since the last arming.
    pub fn calls(&self) -> u64 {
        (self.functions.fault_calls)()
    }

    /// The command that was made to fail since the last arming.
    pub fn fired(&self) -> Option<String> {
        let name = (self.functions.fault_name)();
        (!name.is_null()).then(|| {
            // SAFETY: a constant string of the library, which stays loaded.
            let name = unsafe { CStr::from_ptr(name) };
            name.to_string_lossy().into_owned()
        })
    }

    /// Vulkan objects created and not destroyed, instances and devices included.
    pub fn live_objects(&self) -> u64 {
        (self.functions.live_objects)()
    }

    /// What lives, such as `2 VkBuffer, 1 VkDevice`.
    pub fn describe_live(&self) -> String {
        let mut text = vec![0; 1024];
        // SAFETY: the vector has as many bytes.
        let length =
            unsafe { (self.functions.live_describe)(text.as_mut_ptr().cast(), text.len()) };
        text.truncate(length);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Ranges flushed so far, of any memory.
    pub fn flushes(&self) -> u64 {
        (self.functions.flushes)()
    }

    /// Bytes of incoherent memory copied by flushes so far.
    pub fn bytes_flushed(&self) -> u64 {
        (self.functions.bytes_flushed)()
    }

    /// Ranges invalidated so far, of any memory.
    pub fn invalidates(&self) -> u64 {
        (self.functions.invalidates)()
    }

    /// Bytes of incoherent memory copied by invalidates so far.
    pub fn bytes_invalidated(&self) -> u64 {
        (self.functions.bytes_invalidated)()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_names_the_layer_and_escapes_the_path() {
        let text = manifest(Path::new(r#"/a "b"\c.so"#));
        assert!(
            text.contains(r#""library_path": "/a \"b\"\\c.so","#),
            "{text}"
        );
        assert!(text.contains(&format!(r#""name": "{LAYER_NAME}","#)));
        assert_eq!(crate::LAYER.to_str(), Ok(LAYER_NAME));
    }

    #[test]
    fn a_child_gets_the_folder_and_the_layer() {
        let mut child = Command::new("true");
        child.env("VK_INSTANCE_LAYERS", "VK_LAYER_other");

        enable(&mut child, Path::new("/folder"));

        let set = |variable| {
            let (_, value) = child.get_envs().find(|(name, _)| *name == variable)?;
            value?.to_str()
        };
        let layers = format!("VK_LAYER_other:{LAYER_NAME}");
        assert_eq!(set("VK_INSTANCE_LAYERS"), Some(layers.as_str()));
        let path = ["VK_ADD_LAYER_PATH", "VK_LAYER_PATH"].map(set);
        assert!(
            path.into_iter()
                .flatten()
                .any(|path| path.ends_with("/folder"))
        );
    }
}
