//! What the documents tell people to type. The line above each `sh` block says how it is run as printed: here, in a cluster or in a
//! checkout, or by a script that says so in turn. Every `zisk` command in the text exists.

use std::collections::HashMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use zisk_tests::fleet::{Fleet, Settings};
use zisk_tests::{Program, binary, cli};

/// How a block is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run<'a> {
    /// Here, with a cluster, in a folder of its own.
    InACluster,
    /// Here, with a cluster, in this checkout: it writes nothing but what cargo does.
    InACheckout,
    /// By a script, which has these commands, or does the same with names of its own.
    By(&'a str),
}

fn run_of(line: &str) -> Option<Run<'_>> {
    match line.strip_prefix("<!-- run ")?.strip_suffix(" -->")? {
        "in a cluster" => Some(Run::InACluster),
        "in a checkout" => Some(Run::InACheckout),
        other => other.strip_prefix("by ").map(Run::By),
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// All documents, with their paths.
fn documents() -> Result<Vec<(String, String)>> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "*.md"])
        .current_dir(root())
        .output()?;
    ensure!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
    let paths = String::from_utf8(listed.stdout)?;
    paths
        .lines()
        .map(|path| Ok((path.to_owned(), std::fs::read_to_string(root().join(path)).context(path.to_owned())?)))
        .collect()
}

struct Block<'a> {
    place: String,
    text: String,
    run: Option<Run<'a>>,
}

/// The `sh` blocks of a document.
fn blocks<'a>(path: &str, document: &'a str) -> Vec<Block<'a>> {
    let mut blocks = Vec::new();
    let mut before = "";
    let mut lines = document.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if line == "```sh" {
            let inside: Vec<&str> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
            let text = inside.join("\n") + "\n";
            blocks.push(Block { place: format!("{path}:{}", number + 1), text, run: run_of(before) });
        }
        before = line;
    }
    blocks
}

#[tokio::test]
async fn what_is_marked_runs_as_printed() -> Result<()> {
    let documents = documents()?;
    let all = documents.iter().flat_map(|(path, text)| blocks(path, text));
    let marked: Vec<Block> = all.filter(|block| matches!(block.run, Some(Run::InACluster | Run::InACheckout))).collect();
    ensure!(marked.iter().any(|block| block.place.starts_with("README.md")), "the README's own commands are not run");
    let mut fleet = Fleet::start(Settings { directory_store: false, ..Settings::default() }).await?;
    fleet.start_worker()?;
    for block in marked {
        let scratch = tempfile::tempdir()?;
        for (name, program) in [("nats", "stand-in"), ("b3sum", "stand-in"), ("zisk", "zisk")] {
            std::fs::create_dir_all(scratch.path().join("bin"))?;
            symlink(binary(program)?, scratch.path().join("bin").join(name))?;
        }
        let mut shell = Command::new("bash");
        shell.args(["-euo", "pipefail", "-c", &block.text]);
        if block.run == Some(Run::InACheckout) {
            shell.current_dir(root());
        } else {
            // As in a checkout, with nothing written to this one.
            for shared in ["guests", "scripts"] {
                symlink(root().join(shared), scratch.path().join(shared))?;
            }
            std::fs::write(scratch.path().join("input.bin"), 16_u64.to_le_bytes())?;
            shell.current_dir(scratch.path());
        }
        // What cargo told this test of its own package: build scripts would take it for theirs, and crates be built again.
        for (name, _) in
            std::env::vars().filter(|(name, _)| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            shell.env_remove(name);
        }
        let path = format!("{}:{}", scratch.path().join("bin").display(), std::env::var("PATH")?);
        shell.env("ZISK_NATS_URL", fleet.nats.url()).env("PATH", path);
        let output = tokio::task::spawn_blocking(move || shell.output()).await??;
        ensure!(output.status.success(), "{}: {}\n{}", block.place, output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// The commands in backquotes of a text.
fn in_backquotes(document: &str) -> impl Iterator<Item = &str> {
    // Every other piece is between two of them.
    document.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// What `zisk` says of its commands, asked once for each.
#[derive(Default)]
struct Help(HashMap<Vec<String>, String>);

impl Help {
    fn of(&mut self, commands: &[String]) -> Result<&str> {
        if !self.0.contains_key(commands) {
            let arguments: Vec<&str> = commands.iter().map(String::as_str).chain(["--help"]).collect();
            let ended = cli::run(Program::new("zisk", &root()), &arguments)?;
            ensure!(ended.code == 0, "there is no `zisk {}`: {}", commands.join(" "), ended.stderr);
            self.0.insert(commands.to_vec(), ended.stdout);
        }
        Ok(&self.0[commands])
    }

    /// Whether the command line names a command that exists, and only options of it.
    fn check(&mut self, line: &str) -> Result<()> {
        let line = line.split(" #").next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        let is_command = |word: &&&str| word.chars().all(|letter| letter.is_ascii_lowercase());
        let depth = if words.first() == Some(&"dead") { 2 } else { 1 };
        let commands: Vec<String> = words.iter().take(depth).take_while(is_command).map(ToString::to_string).collect();
        let help = self.of(&commands)?;
        for option in words.iter().filter(|word| word.starts_with("--")) {
            let name = option.split('=').next().unwrap_or_default().trim_end_matches([',', '.']);
            ensure!(help.contains(name), "`zisk {}` has no {name}", commands.join(" "));
        }
        Ok(())
    }
}

#[test]
fn every_command_exists() -> Result<()> {
    let mut help = Help::default();
    let (mut checked, mut wrong) = (0, Vec::new());
    for (path, document) in documents()? {
        let blocks = blocks(&path, &document);
        for block in &blocks {
            let syntax = Command::new("bash").args(["-n", "-c", &block.text]).output()?;
            if !syntax.status.success() {
                wrong.push(format!("{}: {}", block.place, String::from_utf8_lossy(&syntax.stderr)));
            }
            match block.run {
                Some(Run::By(script)) if root().join(script).is_file() => {}
                Some(Run::InACluster | Run::InACheckout) => {}
                other => wrong.push(format!("{}: how is it run? {other:?}", block.place)),
            }
            for line in block.text.lines() {
                let program = line.split_whitespace().next().unwrap_or_default();
                if program.contains('/') && !root().join(program).is_file() {
                    wrong.push(format!("{}: there is no {program}", block.place));
                }
            }
        }
        let lines = blocks.iter().flat_map(|block| block.text.lines());
        for line in lines.chain(in_backquotes(&document)).filter(|line| line.starts_with("zisk ")) {
            checked += 1;
            if let Err(error) = help.check(line) {
                wrong.push(format!("{path}: `{line}`: {error}"));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(checked >= 20, "only {checked} commands were found: are they still looked for in the right way?");
    Ok(())
}
