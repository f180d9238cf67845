//! The install scripts, into a directory: what they write, that a second run changes nothing, and that nothing is left. That the
//! services run is shown by scripts/test-install.sh, which needs a container.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Result, ensure};
use tempfile::TempDir;
use zisk_tests::{Program, binary};

/// The most that a unit may be exposed, of ten.
const EXPOSURE: &str = "--threshold=30";

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A directory to install into.
struct Machine {
    directory: TempDir,
}

impl Machine {
    fn new() -> Result<Self> {
        Ok(Self { directory: tempfile::tempdir()? })
    }

    fn root(&self) -> &Path {
        self.directory.path()
    }

    fn script(&self, component: &str, arguments: &[&str]) -> Result<Output> {
        let script = checkout().join("scripts").join(component).join("install.sh");
        Ok(Command::new(script).arg("--root").arg(self.root()).args(arguments).output()?)
    }

    /// Installs or uninstalls; what it says.
    fn run(&self, component: &str, arguments: &[&str]) -> Result<String> {
        let output = self.script(component, arguments)?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    fn install(&self, component: &str, arguments: &[&str]) -> Result<String> {
        let program = binary(&format!("zisk-{component}"))?.display().to_string();
        self.run(component, &[&["--binary", &program], arguments].concat())
    }

    fn read(&self, path: &str) -> Result<String> {
        let path = self.root().join(path);
        std::fs::read_to_string(&path).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
    }

    /// All files, each with its mode and when it was written.
    fn files(&self) -> Result<BTreeMap<PathBuf, (u32, i64)>> {
        let (mut found, mut left) = (BTreeMap::new(), vec![self.root().to_owned()]);
        while let Some(directory) = left.pop() {
            for entry in std::fs::read_dir(directory)? {
                let path = entry?.path();
                let about = path.symlink_metadata()?;
                if about.is_dir() {
                    left.push(path);
                } else {
                    let written = about.mtime() * 1_000_000_000 + about.mtime_nsec();
                    found.insert(path.strip_prefix(self.root())?.to_owned(), (about.permissions().mode() & 0o777, written));
                }
            }
        }
        Ok(found)
    }
}

#[test]
fn a_service_is_installed_as_the_guide_says_and_again_without_a_change() -> Result<()> {
    for component in ["coordinator", "worker"] {
        let machine = Machine::new()?;
        let name = format!("zisk-{component}");
        let said = machine.install(component, &[])?;
        ensure!(said.ends_with(&format!("installed {name}\n")), "{said}");
        let files = machine.files()?;
        let mode = |path: &str| files.get(Path::new(path)).unwrap_or_else(|| panic!("{path} is missing: {files:?}")).0;
        assert_eq!(mode(&format!("usr/local/bin/{name}")), 0o755);
        assert_eq!(std::fs::read_link(machine.root().join(format!("usr/local/bin/{name}-server")))?, Path::new(&name));
        assert_eq!(mode(&format!("etc/zisk/{component}.toml")), 0o640);
        ensure!(machine.root().join("var/lib/zisk/.zisk/cache").is_dir());
        let unit = machine.read(&format!("etc/systemd/system/{name}.service"))?;
        for line in [
            "User=zisk".to_owned(),
            "WorkingDirectory=/var/lib/zisk".to_owned(),
            format!("ExecStart=/usr/local/bin/{name} --config /etc/zisk/{component}.toml"),
            "NoNewPrivileges=yes".to_owned(),
            "Restart=on-failure".to_owned(),
        ] {
            ensure!(unit.lines().any(|found| found == line), "no {line}: {unit}");
        }
        let template = machine.root().join(format!("etc/systemd/system/{name}@.service"));
        assert_eq!(template.exists(), component == "worker");
        let said = machine.install(component, &[])?;
        assert_eq!(said, format!("{name} is up to date\n"));
        assert_eq!(machine.files()?, files);
    }
    Ok(())
}

#[test]
fn the_example_configurations_are_usable_and_the_guides() -> Result<()> {
    let print = |component: &str| -> Result<String> {
        let file = checkout().join(format!("scripts/{component}/{component}.toml")).display().to_string();
        let program = Program::new(&format!("zisk-{component}"), &checkout()).arg("--config").arg(file).arg("--print-config");
        let output = program.command()?.output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    };
    let has = |printed: &str, lines: &[&str]| lines.iter().all(|line| printed.lines().any(|found| found.starts_with(line)));
    let coordinator = print("coordinator")?;
    ensure!(has(&coordinator, &["port = 9090", "level = \"info\"", "environment = \"production\""]), "{coordinator}");
    let worker = print("worker")?;
    ensure!(has(&worker, &["compute_units = 10", "level = \"info\"", "nats_url = \"nats://127.0.0.1:4222\""]), "{worker}");
    Ok(())
}

#[test]
fn a_configuration_is_kept_unless_another_is_given() -> Result<()> {
    let machine = Machine::new()?;
    machine.install("worker", &[])?;
    let place = machine.root().join("etc/zisk/worker.toml");
    std::fs::write(&place, "[worker]\nworker_id = \"mine\"\n")?;
    machine.install("worker", &[])?;
    ensure!(machine.read("etc/zisk/worker.toml")?.contains("mine"), "it was overwritten");
    let other = machine.root().join("other.toml");
    std::fs::write(&other, "[worker]\nworker_id = \"other\"\n")?;
    machine.install("worker", &["--config", other.to_str().unwrap()])?;
    ensure!(machine.read("etc/zisk/worker.toml")?.contains("other"), "it was not replaced");
    Ok(())
}

#[test]
fn uninstalling_leaves_nothing_but_what_services_have_written() -> Result<()> {
    for platform in ["linux", "macos"] {
        let machine = Machine::new()?;
        let on = ["--platform", platform];
        for component in ["coordinator", "worker"] {
            machine.install(component, &on)?;
        }
        std::fs::write(machine.root().join("etc/zisk/worker-1.env"), "ZISK_WORKER_METRICS_PORT=9191\n")?;
        machine.run("coordinator", &[&on[..], &["--uninstall"]].concat())?;
        ensure!(machine.root().join("usr/local/bin/zisk-worker").exists(), "the worker went with the coordinator");
        let kept = machine.root().join("var/lib/zisk/objects");
        std::fs::write(&kept, "a proof")?;
        let said = machine.run("worker", &[&on[..], &["--uninstall"]].concat())?;
        ensure!(said.contains("kept /var/lib/zisk: it is not empty"), "{said}");
        assert_eq!(machine.files()?.into_keys().collect::<Vec<_>>(), [Path::new("var/lib/zisk/objects")]);
        machine.run("worker", &[&on[..], &["--uninstall", "--purge"]].concat())?;
        assert_eq!(machine.files()?, BTreeMap::new());
        ensure!(!machine.root().join("var/lib/zisk").exists() && !machine.root().join("etc/zisk").exists());
        // A second time there is nothing to do.
        machine.run("worker", &[&on[..], &["--uninstall"]].concat())?;
    }
    Ok(())
}

#[test]
fn the_units_are_hardened() -> Result<()> {
    let machine = Machine::new()?;
    machine.install("coordinator", &[])?;
    machine.install("worker", &[])?;
    for unit in ["zisk-coordinator", "zisk-worker", "zisk-worker@"] {
        let unit = machine.root().join(format!("etc/systemd/system/{unit}.service"));
        let analysed =
            Command::new("systemd-analyze").args(["security", "--offline=true", "--no-pager", EXPOSURE]).arg(&unit).output();
        match analysed {
            Ok(output) => ensure!(output.status.success(), "{}: {}", unit.display(), String::from_utf8_lossy(&output.stdout)),
            // Not every machine that builds has systemd; scripts/test-install.sh does the same in a container.
            Err(error) => eprintln!("not analysed: {error}"),
        }
    }
    Ok(())
}

#[test]
fn macos_gets_a_plist_and_log_rotation() -> Result<()> {
    for component in ["coordinator", "worker"] {
        let machine = Machine::new()?;
        let more: &[&str] = if component == "worker" { &["--no-mpi"] } else { &[] };
        machine.install(component, &[&["--platform", "macos"], more].concat())?;
        let plist = machine.read(&format!("Library/LaunchDaemons/com.zisk.{component}.plist"))?;
        let log = format!("/var/log/zisk/zisk-{component}-server.log");
        let program = format!("<string>/usr/local/bin/zisk-{component}</string>");
        for part in [&format!("<string>com.zisk.{component}</string>"), &program, &format!("<string>{log}</string>")] {
            ensure!(plist.contains(part.as_str()), "no {part}: {plist}");
        }
        let (opened, closed) = (plist.matches("<dict>").count(), plist.matches("</dict>").count());
        ensure!(opened > 0 && opened == closed && plist.trim_end().ends_with("</plist>"), "{plist}");
        let rotation = machine.read(&format!("etc/newsyslog.d/zisk-{component}.conf"))?;
        assert_eq!(rotation, format!("{log} zisk:zisk 640 10 10240 * N\n"));
        ensure!(!machine.root().join("etc/systemd").exists(), "a unit on macOS");
    }
    Ok(())
}

#[test]
fn it_can_be_piped_into_a_shell() -> Result<()> {
    let machine = Machine::new()?;
    let line = "curl -fsS \"$ZISK_INSTALL_URL/scripts/worker/install.sh\" | bash -s -- --root \"$ROOT\" --binary \"$BINARY\"";
    let output = Command::new("bash")
        .args(["-c", line])
        .env("ZISK_INSTALL_URL", format!("file://{}", checkout().display()))
        .env("ROOT", machine.root())
        .env("BINARY", binary("zisk-worker")?)
        .current_dir("/")
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    ensure!(machine.read("etc/zisk/worker.toml")?.contains("compute_units = 10"));
    Ok(())
}

#[test]
fn what_cannot_be_done_is_refused_in_words() -> Result<()> {
    let machine = Machine::new()?;
    for (component, arguments, said) in [
        ("worker", &["--instances", "none"][..], "expected 1 to 99"),
        ("coordinator", &["--instances", "2"], "is for workers"),
        ("worker", &["--binary"], "--binary needs a value"),
        ("worker", &["--binary", "/nowhere"], "/nowhere is not a program"),
        ("coordinator", &["--platform", "beos"], "expected linux or macos"),
        ("coordinator", &["--purge"], "goes with --uninstall"),
        ("coordinator", &["--colour"], "unknown option --colour"),
    ] {
        let output = machine.script(component, arguments)?;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success() && error.contains(said), "{arguments:?}: {error}");
    }
    assert_eq!(machine.files()?, BTreeMap::new());
    Ok(())
}
