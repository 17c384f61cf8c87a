//! The file by which QEMU's users find coherd, `VhostUserBackend` of QEMU's vhost-user.json.

use std::path::Path;

use serde_json::Value;

/// The file in the checkout.
const FILE: &str = "systemd/60-coherd.json";

/// `VHostUserBackendType`, the same since QEMU 4.2.
const TYPES: [&str; 15] = [
    "9p",
    "balloon",
    "block",
    "caif",
    "console",
    "crypto",
    "gpu",
    "input",
    "net",
    "rng",
    "rpmsg",
    "rproc-serial",
    "scsi",
    "vsock",
    "fs",
];

/// What the schema forbids about `text`.
fn check(text: &str) -> Result<(), String> {
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let object = value.as_object().ok_or("not an object")?;
    for (key, value) in object {
        let is_right = match key.as_str() {
            "description" => value.is_string(),
            "type" => value.as_str().is_some_and(|kind| TYPES.contains(&kind)),
            "binary" => value
                .as_str()
                .is_some_and(|path| Path::new(path).is_absolute()),
            "tags" => value
                .as_array()
                .is_some_and(|tags| tags.iter().all(Value::is_string)),
            _ => return Err(format!("there is no {key}")),
        };
        if !is_right {
            return Err(format!("{key} is not right"));
        }
    }
    match ["description", "type", "binary"]
        .iter()
        .find(|key| !object.contains_key(**key))
    {
        Some(missing) => Err(format!("{missing} is missing")),
        None => Ok(()),
    }
}

#[test]
fn file_that_is_shipped_fits_the_schema_and_names_a_gpu() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(FILE);
    let text = std::fs::read_to_string(path).unwrap();
    assert_eq!(check(&text), Ok(()));
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["type"], "gpu");
    assert_eq!(value["binary"], "/usr/bin/coherd");
}

#[test]
fn check_refuses_what_the_schema_does() {
    let right = r#"{"description": "d", "type": "gpu", "binary": "/b", "tags": ["t"]}"#;
    assert_eq!(check(right), Ok(()));
    for (from, to) in [
        ("\"gpu\"", "\"tpu\""),
        ("\"/b\"", "\"b\""),
        ("[\"t\"]", "\"t\""),
        ("\"tags\"", "\"features\""),
        ("\"binary\": \"/b\", ", ""),
    ] {
        assert!(check(&right.replace(from, to)).is_err(), "{to}");
    }
}
