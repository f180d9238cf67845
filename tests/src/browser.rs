//! A headless Chromium, spoken to over a pipe (`--remote-debugging-pipe`: JSON messages that end with a zero byte).

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long a page has until something is so.
const PATIENCE: Duration = Duration::from_secs(120);

/// A browser with one page.
pub struct Browser {
    process: Child,
    commands: File,
    answers: BufReader<File>,
    session: Option<String>,
    number: u64,
    _folder: TempDir,
}

impl Browser {
    /// Starts Debian's `chromium`, or what `ZISK_CHROMIUM` names.
    ///
    /// # Errors
    /// When there is none.
    pub fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let [commands, answers] = ["commands", "answers"].map(|name| folder.path().join(name));
        ensure!(Command::new("mkfifo").arg(&commands).arg(&answers).status()?.success(), "no pipes");
        let chromium = std::env::var("ZISK_CHROMIUM").unwrap_or_else(|_| "chromium".to_owned());
        // The pipes are its descriptors 3 and 4. As root it runs without its sandbox only, and there is nothing here to keep out.
        let script = r#"exec "$1" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run \
            --user-data-dir="$2/profile" --remote-debugging-pipe 3<"$2/commands" 4>"$2/answers""#;
        let mut process = Command::new("sh");
        process.args(["-c", script, "sh", &chromium]).arg(folder.path()).stdin(Stdio::null());
        let process = process.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("no shell")?;
        // Each end waits for the other.
        let commands = File::options().write(true).open(&commands)?;
        let answers = BufReader::new(File::open(&answers)?);
        let mut browser = Self { process, commands, answers, session: None, number: 0, _folder: folder };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let target = target.with_context(|| format!("{chromium} does not start: apt-get install chromium"))?;
        let attached = browser.call("Target.attachToTarget", json!({ "targetId": target["targetId"], "flatten": true }))?;
        browser.session = Some(attached["sessionId"].as_str().context("no session")?.to_owned());
        Ok(browser)
    }

    fn call(&mut self, method: &str, params: Value) -> Result<Value> {
        self.number += 1;
        let mut message = json!({ "id": self.number, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.commands.write_all(message.to_string().as_bytes())?;
        self.commands.write_all(&[0])?;
        loop {
            let mut answer = Vec::new();
            self.answers.read_until(0, &mut answer)?;
            ensure!(answer.pop().is_some(), "the browser has ended");
            let mut answer: Value = serde_json::from_slice(&answer)?;
            if answer["id"] == self.number {
                ensure!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return Ok(answer["result"].take());
            }
        }
    }

    /// Goes to a page, with a window so wide.
    ///
    /// # Errors
    /// When it cannot.
    pub fn open(&mut self, url: &str, width: u32) -> Result<()> {
        let screen = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", screen)?;
        let gone = self.call("Page.navigate", json!({ "url": url }))?;
        ensure!(gone["errorText"].is_null(), "{url}: {gone}");
        Ok(())
    }

    /// What an expression is on the page.
    ///
    /// # Errors
    /// When it throws.
    pub fn eval(&mut self, expression: &str) -> Result<Value> {
        let mut said = self.call("Runtime.evaluate", json!({ "expression": expression, "returnByValue": true }))?;
        ensure!(said["exceptionDetails"].is_null(), "{expression}: {}", said["exceptionDetails"]);
        Ok(said["result"]["value"].take())
    }

    /// Waits until an expression is true.
    ///
    /// # Errors
    /// When it does not become so; with what the page shows.
    pub fn until(&mut self, expression: &str) -> Result<()> {
        let began = Instant::now();
        while self.eval(expression).ok() != Some(Value::Bool(true)) {
            if began.elapsed() > PATIENCE {
                bail!("not so: {expression}; the page shows {}", self.eval("document.body.innerText")?);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// A picture of the page, as base64 of a PNG.
    ///
    /// # Errors
    /// When it cannot.
    pub fn picture(&mut self) -> Result<String> {
        let picture = self.call("Page.captureScreenshot", json!({ "format": "png" }))?;
        Ok(picture["data"].as_str().context("no picture")?.to_owned())
    }

    /// A picture of so much of the page, seen or not, as base64 of a PNG.
    ///
    /// # Errors
    /// When it cannot.
    pub fn picture_of(&mut self, width: u32, height: u64) -> Result<String> {
        let clip = json!({ "x": 0, "y": 0, "width": width, "height": height, "scale": 1 });
        let asked = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        let picture = self.call("Page.captureScreenshot", asked)?;
        Ok(picture["data"].as_str().context("no picture")?.to_owned())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.call("Browser.close", json!({}));
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
