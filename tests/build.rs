//! Compiles the guest programs' shaders from WGSL to SPIR-V, validated, into `OUT_DIR`.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

use naga::back::spv;
use naga::front::wgsl;
use naga::valid::{Capabilities, ValidationFlags, Validator};

fn main() -> Result<(), Box<dyn Error>> {
    let out = env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?;
    println!("cargo::rerun-if-changed=shaders");
    for entry in fs::read_dir("shaders")? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "wgsl")
        {
            compile(&path, Path::new(&out))
                .map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }
    Ok(())
}

fn compile(source: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    let name = source.file_stem().ok_or("the shader has no name")?;
    let text = fs::read_to_string(source)?;
    let module = wgsl::parse_str(&text).map_err(|error| error.emit_to_string(&text))?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
        .validate(&module)
        .map_err(|error| error.emit_to_string(&text))?;
    let options = spv::Options {
        // What every Vulkan 1.1 driver takes.
        lang_version: (1, 3),
        // The projection matrices are already Vulkan's: no flip of Y behind our back.
        flags: spv::WriterFlags::empty(),
        force_loop_bounding: false,
        ..spv::Options::default()
    };
    let words = spv::write_vec(&module, &info, &options, None)?;
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    fs::write(out.join(name).with_extension("spv"), bytes)?;
    Ok(())
}
