//! Writes what a package holds besides the programs and is made from their definitions: man pages and
//! shell completions.
//!
//!     cargo run -p usbmux-host --example packaging -- FOLDER
//!
//! The folder gets `man/` and one folder for each shell. Of the programs only the definitions of their
//! command lines are used: the library has umuxd's, and umux's is part of that program. What stands
//! below the options in their help becomes sections of its own: examples, notes, exit status.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
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

/// How lines of a help begin that are no prose.
const INDENTED: &str = "  ";
const EXIT_STATUS: &str = "Exit status: ";

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).ok_or("say into which folder")?;
    let folder = Path::new(&folder);
    let man = folder.join("man");
    fs::create_dir_all(&man)?;
    // A subcommand "help" would be a page of its own.
    let mut umux = args::Cli::command().disable_help_subcommand(true);
    umux.build();
    pages(&umux, "1", "umuxd(8)", &man)?;
    pages(&Options::command(), "8", "umux(1), idevice_id(1), iproxy(1)", &man)?;
    for command in [args::Cli::command(), Options::command()] {
        completions(command, folder)?;
    }
    Ok(())
}

/// Writes the man page of a command and those of its subcommands.
fn pages(command: &Command, section: &str, see_also: &str, folder: &Path) -> io::Result<()> {
    for subcommand in command.get_subcommands() {
        pages(subcommand, section, "umux(1)", folder)?;
    }
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let below = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let page = Man::new(command.clone().after_help(None::<&str>).version(None::<&str>))
        .title(name.to_uppercase())
        .section(section)
        .source(concat!("usbmux ", env!("CARGO_PKG_VERSION")));
    let mut file = File::create(folder.join(format!("{name}.{section}")))?;
    page.render(&mut file)?;
    write!(file, "{}", sections(&below, see_also))
}

/// Makes sections of what stands below the options in a command's help. There examples are indented,
/// what they do stands behind them or below, and the exit status ends a paragraph.
fn sections(help: &str, see_also: &str) -> String {
    let [mut examples, mut notes, mut status] = [Roff::new(), Roff::new(), Roff::new()];
    for paragraph in help.split("\n\n") {
        let (prose, ends) = paragraph.split_once(EXIT_STATUS).unwrap_or((paragraph, ""));
        if !ends.is_empty() {
            status.text([roman(ends)]);
        }
        let lines: Vec<_> = prose.lines().filter(|line| *line != "Examples:").collect();
        if lines.iter().any(|line| line.starts_with(INDENTED)) {
            examples.control("PP", []);
            lines.iter().for_each(|line| example(&mut examples, line));
        } else if !lines.is_empty() {
            notes.control("PP", []);
            notes.text([roman(lines.join("\n"))]);
        }
    }
    let mut last = Roff::new();
    last.text([roman(see_also)]);
    let nothing = Roff::new().to_roff();
    [("EXAMPLES", examples), ("NOTES", notes), ("EXIT STATUS", status), ("SEE ALSO", last)]
        .map(|(heading, body)| (heading, body.to_roff()))
        .into_iter()
        .filter(|(_, body)| *body != nothing)
        .map(|(heading, body)| format!(".SH \"{heading}\"\n{body}"))
        .collect()
}

/// Adds a line of a paragraph with examples: a command and what it does, more of the latter, or prose.
fn example(examples: &mut Roff, line: &str) {
    let Some(line) = line.strip_prefix(INDENTED) else {
        examples.text([roman(line)]);
        return;
    };
    let (command, what) = line.split_once("   ").unwrap_or((line, ""));
    if !command.is_empty() {
        examples.control("TP", []);
        examples.text([bold(command)]);
    }
    if !what.is_empty() {
        examples.text([roman(what.trim())]);
    }
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
