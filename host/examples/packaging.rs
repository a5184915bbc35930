//! Writes what a package holds besides the programs and is made from their definitions: man pages and
//! shell completions.
//!
//!     cargo run -p usbmux-host --example packaging -- FOLDER
//!
//! The folder gets `man/` and one folder for each shell. Of the programs only the definitions of their
//! command lines are used: the library has umuxd's, and umux's is part of that program.

use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate};
use clap_mangen::Man;
use usbmux_host::daemon::options::Options;

#[allow(dead_code, reason = "only the definition is used")]
#[path = "../src/bin/umux/args.rs"]
mod args;
#[allow(dead_code, reason = "the definition names it")]
#[path = "../src/bin/umux/failure.rs"]
mod failure;
#[allow(dead_code, reason = "the definition names it")]
#[path = "../src/bin/umux/output.rs"]
mod output;

/// A shell's name here and the files it looks for: prefix and suffix around the program's name.
const SHELLS: [(Shell, &str, &str, &str); 3] = [
    (Shell::Bash, "bash", "", ""),
    (Shell::Fish, "fish", "", ".fish"),
    (Shell::Zsh, "zsh", "_", ""),
];

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).ok_or("say into which folder")?;
    let folder = Path::new(&folder);
    let man = folder.join("man");
    fs::create_dir_all(&man)?;
    // A subcommand "help" would be a page of its own.
    let umux = args::Cli::command().disable_help_subcommand(true);
    clap_mangen::generate_to(umux, &man)?;
    let daemon = Man::new(Options::command()).title("UMUXD").section("8");
    daemon.render(&mut File::create(man.join("umuxd.8"))?)?;
    for command in [args::Cli::command(), Options::command()] {
        completions(command, folder)?;
    }
    Ok(())
}

fn completions(mut command: Command, folder: &Path) -> io::Result<()> {
    let name = command.get_name().to_owned();
    for (shell, its, prefix, suffix) in SHELLS {
        let folder = folder.join(its);
        fs::create_dir_all(&folder)?;
        let mut file = File::create(folder.join(format!("{prefix}{name}{suffix}")))?;
        generate(shell, &mut command, &name, &mut file);
    }
    Ok(())
}
