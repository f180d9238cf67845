//! The settings of a binary put together: defaults, then the file, then the environment, then flags; later wins.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::key::{Key, Source};
use super::settings::Settings;
use super::{ConfigError, read_file};

/// In place of a file's name: no file is read.
const NO_FILE: &str = "none";
/// Of two names that differ by more, neither was meant as the other.
const ALIKE: f64 = 0.7;

/// A flag that is known and refused.
#[derive(Debug, Clone, Copy)]
pub struct Refused {
    /// Without its dashes.
    pub flag: &'static str,
    /// Its letter.
    pub short: Option<char>,
    /// What it takes, if anything.
    pub value: Option<&'static str>,
    /// Why it is refused, and what to do instead.
    pub reason: &'static str,
}

/// A binary as its settings know it.
#[derive(Debug, Clone)]
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub about: &'static str,
    /// Its release.
    pub version: &'static str,
    /// What its variables start with.
    pub variables: &'static str,
    /// What its file is called.
    pub file: &'static str,
    /// The setting that names a second file, which goes over the first.
    pub second_file: Option<&'static str>,
    /// All settings, table by table.
    pub keys: Vec<Key>,
    /// Flags that are refused.
    pub refused: &'static [Refused],
}

/// What a command line asks for.
#[derive(Debug)]
pub enum Asked {
    /// To run with these settings.
    Run(Settings),
    /// To print these settings and stop.
    Print(Settings),
}

impl Program {
    /// Its command line.
    pub fn command(&self) -> Command {
        let places = self.places().iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", ");
        let file = Arg::new("config").long("config").value_name("FILE").help(format!(
            "Configuration file (TOML), or \"{NO_FILE}\" [env: {}] [default: the first there is of {places}]",
            self.file_variable()
        ));
        let print = Arg::new("print-config")
            .long("print-config")
            .action(ArgAction::SetTrue)
            .help("Print all settings and where each comes from, and stop");
        let mut command = Command::new(self.name)
            .version(self.version)
            .about(self.about)
            .after_help(format!(
                "Each setting comes from the last that says it: default, file, environment, flag. {}<TABLE>_<KEY> sets what the \
                 file has under [table] key.",
                self.variables
            ))
            .args([file, print]);
        for key in &self.keys {
            let mut help = key.help.to_owned();
            if let Some(by) = key.replaced {
                help = format!("{help}. Without effect: {by}");
            }
            if let Some(default) = key.default {
                help = format!("{help} [default: {default}]");
            }
            let variables = key.variable_names(self.variables).join(", ");
            let flag = Arg::new(key.name).long(key.flag_name()).value_name("VALUE").help(format!("{help} [env: {variables}]"));
            command = command.arg(flag.hide_short_help(!key.common).allow_hyphen_values(true));
        }
        for refused in self.refused {
            let mut flag =
                Arg::new(refused.flag).long(refused.flag).help(format!("Refused: {}", refused.reason)).hide_short_help(true);
            if let Some(short) = refused.short {
                flag = flag.short(short);
            }
            command = command.arg(match refused.value {
                Some(value) => flag.value_name(value),
                None => flag.action(ArgAction::SetTrue),
            });
        }
        command
    }

    /// Reads the command line of this process, whose help, version and mistakes end it, and puts all sources together.
    ///
    /// # Errors
    /// [`ConfigError`] naming the setting and where its value comes from.
    pub fn from_this_process(&self) -> Result<Asked, ConfigError> {
        let environment = std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?)));
        self.read(&self.command().get_matches(), environment, &self.places())
    }

    /// As [`Program::from_this_process`], from given sources; `places` are where the file is looked for.
    ///
    /// # Errors
    /// As [`Program::from_this_process`].
    pub fn read(
        &self,
        flags: &ArgMatches,
        environment: impl Iterator<Item = (String, String)>,
        places: &[PathBuf],
    ) -> Result<Asked, ConfigError> {
        for refused in self.refused {
            if flags.value_source(refused.flag) == Some(clap::parser::ValueSource::CommandLine) {
                return Err(ConfigError::Refused { flag: refused.flag, reason: refused.reason });
            }
        }
        // An empty variable is how scripts say that they have nothing to say.
        let environment: Vec<_> = environment.filter(|(_, value)| !value.is_empty()).collect();
        self.check_names(&environment)?;
        let mut settings = Settings::new(&self.keys);
        if let Some(path) = self.file(flags, &environment, places) {
            self.take_file(&mut settings, &path)?;
        }
        let first = settings.clone();
        self.take_said(&mut settings, flags, &environment)?;
        if let Some(second) = self.second_file.and_then(|name| settings.text(name)).map(PathBuf::from) {
            settings = first;
            self.take_file(&mut settings, &second)?;
            self.take_said(&mut settings, flags, &environment)?;
        }
        Ok(if flags.get_flag("print-config") { Asked::Print(settings) } else { Asked::Run(settings) })
    }

    /// Where its file is looked for: here, in the user's configuration, in the machine's.
    fn places(&self) -> Vec<PathBuf> {
        let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".config"));
        let user = std::env::var_os("XDG_CONFIG_HOME").filter(|path| !path.is_empty()).map(PathBuf::from).or_else(home);
        let directories = [user.map(|directory| directory.join("zisk")), Some(PathBuf::from("/etc/zisk"))];
        std::iter::once(PathBuf::from(self.file))
            .chain(directories.into_iter().flatten().map(|path| path.join(self.file)))
            .collect()
    }

    fn file_variable(&self) -> String {
        format!("{}CONFIG", self.variables)
    }

    /// The file that was named, or the first that is where it is looked for.
    fn file(&self, flags: &ArgMatches, environment: &[(String, String)], places: &[PathBuf]) -> Option<PathBuf> {
        let variable = self.file_variable();
        let named = flags.get_one::<String>("config").cloned();
        let named = named.or_else(|| environment.iter().find(|(name, _)| *name == variable).map(|(_, value)| value.clone()));
        match named {
            Some(none) if none == NO_FILE => None,
            Some(path) => Some(path.into()),
            None => places.iter().find(|place| place.is_file()).cloned(),
        }
    }

    fn check_names(&self, environment: &[(String, String)]) -> Result<(), ConfigError> {
        let mut known: Vec<String> = self.keys.iter().flat_map(|key| key.variable_names(self.variables)).collect();
        known.push(self.file_variable());
        for (name, value) in environment.iter().filter(|(name, _)| name.starts_with(self.variables)) {
            if !known.contains(name) {
                let mut reason = nearest(name, known.iter().map(String::as_str));
                // Kubernetes tells every pod of every Service.
                if value.starts_with("tcp://") || name.contains("_SERVICE_HOST") || name.contains("_SERVICE_PORT") {
                    reason = "; if Kubernetes sets it, set enableServiceLinks: false in the pod".to_owned();
                }
                return Err(ConfigError::Unknown {
                    what: "environment variable",
                    name: name.clone(),
                    place: String::new(),
                    reason,
                });
            }
        }
        Ok(())
    }

    fn take_file(&self, settings: &mut Settings, path: &Path) -> Result<(), ConfigError> {
        self.take_table(settings, path, "", &read_file(path)?)
    }

    fn take_table(&self, settings: &mut Settings, path: &Path, above: &str, table: &toml::Table) -> Result<(), ConfigError> {
        for (name, value) in table {
            let name = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
            if let Some(key) = self.keys.iter().find(|key| key.name == name) {
                settings.set(key, Source::File(path.to_owned()), key.check(value).map(|()| value.clone()), value)?;
                continue;
            }
            let below = format!("{name}.");
            match value {
                toml::Value::Table(table) if self.keys.iter().any(|key| key.name.starts_with(&below)) => {
                    self.take_table(settings, path, &name, table)?;
                }
                _ => {
                    let place = format!(" in {}", path.display());
                    let (what, reason) = if value.is_table() {
                        let tables = self.keys.iter().filter_map(|key| Some(key.name.rsplit_once('.')?.0));
                        ("table", nearest(&name, tables))
                    } else {
                        ("key", nearest(&name, self.keys.iter().map(|key| key.name)))
                    };
                    return Err(ConfigError::Unknown { what, name, place, reason });
                }
            }
        }
        Ok(())
    }

    /// Environment and flags.
    fn take_said(
        &self,
        settings: &mut Settings,
        flags: &ArgMatches,
        environment: &[(String, String)],
    ) -> Result<(), ConfigError> {
        for key in &self.keys {
            for variable in key.variable_names(self.variables) {
                if let Some((_, text)) = environment.iter().find(|(name, _)| *name == variable) {
                    settings.set(key, Source::Variable(variable), key.parse(text), &text.as_str().into())?;
                }
            }
            if let Some(text) = flags.get_one::<String>(key.name) {
                let source = Source::Flag(format!("--{}", key.flag_name()));
                settings.set(key, source, key.parse(text), &text.as_str().into())?;
            }
        }
        Ok(())
    }
}

fn text(given: OsString) -> Option<String> {
    given.into_string().ok()
}

/// What was probably meant.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let alike = known.map(|known| (strsim::jaro_winkler(name, known), known)).max_by(|a, b| a.0.total_cmp(&b.0));
    match alike {
        Some((likeness, known)) if likeness >= ALIKE => format!("; the nearest is {known}"),
        _ => "; --print-config shows all settings".to_owned(),
    }
}
