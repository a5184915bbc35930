//! `usbmux-sim page`: writes the page, with the engine in it.
//!
//! The engine is compiled for WebAssembly here and now, from the sources that this program was built
//! from; the page's own files come along in this program. All of it becomes one file that needs no
//! server: a browser opens it from the disk.

use crate::failure::{Failure, say};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-unknown-unknown";
const PAGE: &str = include_str!("../../../page/web/index.html");
const STYLE: &str = include_str!("../../../page/web/style.css");
/// In the order in which they need each other.
const SCRIPTS: [&str; 9] = [
    include_str!("../../../page/web/engine.js"),
    include_str!("../../../page/web/ladder.js"),
    include_str!("../../../page/web/bytes.js"),
    include_str!("../../../page/web/states.js"),
    include_str!("../../../page/web/credit.js"),
    include_str!("../../../page/web/starts.js"),
    include_str!("../../../page/web/lab.js"),
    include_str!("../../../page/web/trace.js"),
    include_str!("../../../page/web/main.js"),
];

pub(crate) fn run(out: &Path) -> Result<(), Failure> {
    let root = sources()?;
    let engine = compile(&root)?;
    fs::create_dir_all(out).map_err(|error| cannot("make", out, &error))?;
    let file = out.join("index.html");
    fs::write(&file, page(&engine)).map_err(|error| cannot("write", &file, &error))?;
    let file = file.canonicalize().unwrap_or(file);
    say(format_args!("written; open it in a browser: file://{}", file.display()));
    Ok(())
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("cannot {what} {}: {error}", path.display()))
}

/// The folder of the workspace that this program was built from.
fn sources() -> Result<PathBuf, Failure> {
    let built_from = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    match built_from.join("firmware-sim/page/Cargo.toml").exists() {
        true => Ok(built_from.to_owned()),
        false => Err(Failure::failed(format!(
            "the page's engine is compiled from the sources of usbmux, and they are gone from {}; build \
             usbmux-sim anew in a checkout",
            built_from.display()
        ))),
    }
}

/// Compiles the engine; the WebAssembly module.
fn compile(root: &Path) -> Result<Vec<u8>, Failure> {
    let mut cargo = Command::new("cargo");
    // Of the cargo that may run this program, nothing but where it builds.
    for name in ["LD_LIBRARY_PATH", "RUSTUP_TOOLCHAIN", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"] {
        cargo.env_remove(name);
    }
    if let Some(toolchain) = toolchain(root)? {
        cargo.arg(format!("+{toolchain}"));
    }
    let target_dir = match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => env::current_dir().unwrap_or_default().join(dir),
        None => root.join("target"),
    };
    cargo
        .args(["build", "--quiet", "--locked", "--package", "usbmux-page", "--profile", "page"])
        .args(["--target", TARGET, "--target-dir"])
        .arg(&target_dir)
        .current_dir(root);
    say(format_args!("compiling the engine for WebAssembly"));
    let built = cargo.status();
    if !built.as_ref().is_ok_and(std::process::ExitStatus::success) {
        return Err(match built {
            Err(error) => Failure::failed(format!("cannot run cargo: {error}")),
            Ok(_) => {
                Failure::failed("cargo could not compile the engine; what it said stands above")
            }
        });
    }
    let module = target_dir.join(TARGET).join("page/usbmux_page.wasm");
    fs::read(&module).map_err(|error| cannot("read", &module, &error))
}

/// A toolchain that can compile for WebAssembly; none if the one in use can.
fn toolchain(root: &Path) -> Result<Option<String>, Failure> {
    if has_target(root) {
        return Ok(None);
    }
    let script = root.join("tests/tools/toolchain");
    let made = Command::new(&script)
        .env("TARGETS", TARGET)
        .stderr(std::process::Stdio::inherit())
        .output();
    let name = made.ok().filter(|made| made.status.success()).map(|made| made.stdout);
    let name =
        name.and_then(|name| String::from_utf8(name).ok()).map(|name| name.trim().to_owned());
    name.map(Some).ok_or_else(|| {
        Failure::failed(format!("no compiler for WebAssembly; run: rustup target add {TARGET}"))
    })
}

/// Whether the toolchain in use brings the standard library for WebAssembly.
fn has_target(root: &Path) -> bool {
    let asked = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .env_remove("RUSTUP_TOOLCHAIN")
        .current_dir(root)
        .output();
    let Some(folder) = asked.ok().and_then(|asked| String::from_utf8(asked.stdout).ok()) else {
        return false;
    };
    let files = fs::read_dir(folder.trim()).into_iter().flatten().flatten();
    files.map(|file| file.file_name()).any(|name| name.to_string_lossy().starts_with("libstd-"))
}

/// Everything in one file.
fn page(engine: &[u8]) -> String {
    let scripts = SCRIPTS.map(|script| script.replace("\"use strict\";\n", "")).join("\n");
    PAGE.replace("{{style}}", STYLE)
        .replace("{{scripts}}", &format!("\"use strict\";\n{scripts}"))
        .replace("{{engine}}", &STANDARD.encode(engine))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_whole_and_asks_nobody_for_anything() {
        let page = page(b"\0asm");
        assert!(!page.contains("{{") && page.contains("AGFzbQ=="));
        assert!(page.contains("default-src 'none'"));
        for (at, _) in page.match_indices("://") {
            let before = page.get(at.saturating_sub(11)..at).unwrap_or_default();
            // The name of SVG's namespace, which nobody fetches.
            assert!(page[at..].starts_with("://www.w3.org/2000/svg"), "{before}");
        }
        for word in ["fetch(", "XMLHttpRequest", "WebSocket", "src=", "import("] {
            assert!(!page.contains(word), "{word}");
        }
        assert_eq!(page.matches("</script").count(), 2);
    }

    #[test]
    fn no_script_is_too_long_to_be_read() {
        assert!(SCRIPTS.iter().all(|script| script.lines().count() < 600));
    }
}
