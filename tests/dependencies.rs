//! The policy for dependencies, checked offline: licences that may be linked, crates that are there twice, and crates that must not come back.

use std::{collections::BTreeMap, process::Command};

use serde_json::Value;

/// Licences that may be linked into a program under MIT or Apache 2.0.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates that other crates need in two versions. A new one is a reason to look for another version of whoever brings it.
const TWICE: &[&str] = &["base64", "getrandom", "hashbrown", "rand", "rand_core", "syn"];

/// Crates that must not come back, and why.
const BANNED: &[(&str, &str)] = &[
    ("openssl-sys", "rustls serves; OpenSSL ties the binary to one distribution"),
    ("native-tls", "rustls serves; it brings OpenSSL"),
    ("serde_yaml", "it is not maintained any more; serde-saphyr serves"),
    ("chrono", "jiff serves"),
    ("time", "jiff serves"),
];

/// All packages that are compiled on Linux, tests and build scripts included.
fn packages() -> Vec<Value> {
    let arguments =
        ["metadata", "--format-version=1", "--offline", "--locked", "--filter-platform=x86_64-unknown-linux-gnu"];
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    metadata["packages"].as_array().expect("packages").clone()
}

/// Whether an SPDX expression can be satisfied: one side of each OR, both sides of each AND.
fn allowed(expression: &str) -> bool {
    let text = expression.replace(" / ", " OR ").replace('/', " OR ").replace(['(', ')'], "");
    text.split(" AND ").all(|part| part.split(" OR ").any(|licence| LICENCES.contains(&licence.trim())))
}

#[test]
fn every_licence_may_be_linked() {
    let packages = packages();
    assert!(packages.len() > 100, "only {} packages", packages.len());
    let others: Vec<String> = packages
        .iter()
        .filter(|p| !p["license"].as_str().is_some_and(allowed))
        .map(|p| format!("{} {}: {}", p["name"], p["version"], p["license"]))
        .collect();
    assert_eq!(others, Vec::<String>::new());
}

#[test]
fn an_expression_of_licences_is_read() {
    for good in
        ["MIT", "MIT/Apache-2.0", "GPL-3.0 OR MIT", "(Apache-2.0 OR GPL-2.0) AND BSD-3-Clause", "Apache-2.0 / MIT"]
    {
        assert!(allowed(good), "{good}");
    }
    for bad in ["GPL-3.0", "MIT AND GPL-3.0", "LGPL-2.1 OR MPL-2.0", ""] {
        assert!(!allowed(bad), "{bad}");
    }
}

#[test]
fn nothing_comes_twice_that_need_not() {
    let mut versions: BTreeMap<String, usize> = BTreeMap::new();
    for package in packages() {
        *versions.entry(package["name"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    let twice: Vec<&String> = versions.iter().filter(|(_, count)| **count > 1).map(|(name, _)| name).collect();
    assert_eq!(twice, TWICE);
}

#[test]
fn what_was_replaced_does_not_come_back() {
    let back: Vec<String> = packages()
        .iter()
        .filter_map(|p| BANNED.iter().find(|(name, _)| p["name"] == *name))
        .map(|(name, why)| format!("{name}: {why}"))
        .collect();
    assert_eq!(back, Vec::<String>::new());
}
