//! What every binary tests of its list of settings: each key, from each source.

use std::path::{Path, PathBuf};

use super::{Asked, ConfigError, Key, Kind, Program, Settings, Source};

/// The settings from these arguments and variables, and no file but the one they name.
///
/// # Errors
/// As [`Program::read`].
pub fn read(program: &Program, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    let flags = program.command().get_matches_from([program.name].iter().chain(arguments));
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    match program.read(&flags, environment, &[])? {
        Asked::Run(settings) | Asked::Print(settings) => Ok(settings),
    }
}

/// Asserts for every key that file, each variable and flag are taken in this order, the last winning, and that the value arrives in
/// the structure that the binary works with, which `typed` makes and gives back as a table.
///
/// # Panics
/// When one is not.
pub fn check_precedence(program: &Program, typed: impl Fn(&Settings) -> toml::Table) {
    let place = Place::new(program, "precedence");
    for key in &program.keys {
        let values = place.good_values(key);
        assert!(values.len() > 1, "{}: fewer than two values to try", key.name);
        let mut values = values.iter().cycle();
        let expect = |said: &Said, value: Option<&str>, source: Source| {
            let (arguments, environment) = (said.arguments(&place.file), said.environment());
            let settings = read(program, &arguments, &environment).unwrap_or_else(|error| panic!("{}: {error}", key.name));
            let value = value.map(|value| key.parse(value).unwrap());
            assert_eq!(settings.source(key.name), value.is_some().then_some(&source), "{}", key.name);
            let table = typed(&settings);
            let arrived = key.name.split('.').try_fold(&toml::Value::Table(table), |at, step| at.get(step)).cloned();
            assert_eq!(arrived, value, "{}, from {source}", key.name);
        };
        let mut said = Said::default();
        expect(&said, key.default, Source::Default);
        let mut next = || values.next().cloned().unwrap();
        let value = next();
        place.write(key, &value);
        said.file = true;
        expect(&said, Some(&value), Source::File(place.file.clone()));
        for variable in key.variable_names(program.variables) {
            let value = next();
            said.variables.push((variable.clone(), value.clone()));
            expect(&said, Some(&value), Source::Variable(variable));
        }
        let (flag, value) = (format!("--{}", key.flag_name()), next());
        said.flag = Some((flag.clone(), value.clone()));
        expect(&said, Some(&value), Source::Flag(flag));
    }
}

/// Asserts for every key whose values have limits that what is outside of them is refused, from each source, with the key, the
/// source, and what is allowed; and for all keys that a misspelt one is refused with the right one.
///
/// # Panics
/// When one is not.
pub fn check_ranges(program: &Program) {
    let place = Place::new(program, "ranges");
    let file = place.file.display().to_string();
    let refused = |arguments: &[&str], environment: &[(&str, &str)], said: &[&str]| {
        let error = read(program, arguments, environment).expect_err(said[0]).to_string();
        assert!(said.iter().all(|said| error.contains(said)), "{error} does not say all of {said:?}");
    };
    for key in &program.keys {
        for value in bad_values(key) {
            let flag = format!("--{}", key.flag_name());
            refused(&["--config", "none", &flag, &value], &[], &[key.name, &flag, "expected"]);
            let variable = key.variable_names(program.variables).remove(0);
            refused(&["--config", "none"], &[(&variable, &value)], &[key.name, &variable, "expected"]);
            place.write(key, &value);
            refused(&["--config", &file], &[], &[key.name, &file, "expected"]);
        }
        let misspelt = format!("{}x", key.name);
        let (table, name) = misspelt.rsplit_once('.').unwrap();
        std::fs::write(&place.file, format!("[{table}]\n{name} = 1\n")).unwrap();
        refused(&["--config", &file], &[], &[&misspelt, &file, &format!("the nearest is {}", key.name)]);
    }
}

/// What is said of one key.
#[derive(Default)]
struct Said {
    file: bool,
    variables: Vec<(String, String)>,
    flag: Option<(String, String)>,
}

impl Said {
    fn arguments<'a>(&'a self, file: &'a Path) -> Vec<&'a str> {
        let file = file.to_str().filter(|_| self.file).unwrap_or("none");
        let flag = self.flag.iter().flat_map(|(flag, value)| [flag.as_str(), value.as_str()]);
        ["--config", file].into_iter().chain(flag).collect()
    }

    fn environment(&self) -> Vec<(&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }
}

/// A directory with a configuration file.
struct Place {
    directory: PathBuf,
    file: PathBuf,
}

impl Place {
    fn new(program: &Program, what: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("{}-{what}-{}", program.name, std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        Self { file: directory.join(program.file), directory }
    }

    fn write(&self, key: &Key, text: &str) {
        let value = key.parse(text).unwrap_or_else(|_| text.into());
        let (table, name) = key.name.rsplit_once('.').unwrap();
        std::fs::write(&self.file, format!("[{table}]\n{name} = {value}\n")).unwrap();
    }

    /// Several values that a key takes, each with another after it.
    fn good_values(&self, key: &Key) -> Vec<String> {
        let strings = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        match key.kind {
            Kind::Switch => strings(&["true", "false"]),
            Kind::OneOf(words) => strings(words),
            Kind::Secret => strings(&["12345", "one", "two"]),
            Kind::Number { least, most, .. } => vec![least.to_string(), most.to_string(), least.midpoint(most).to_string()],
            Kind::Path => (1..=3)
                .map(|n| {
                    let path = self.directory.join(n.to_string());
                    std::fs::write(&path, "").unwrap();
                    path.display().to_string()
                })
                .collect(),
            Kind::Text(_) | Kind::Url(_) => {
                let urls = ["nats://a:1", "nats://b:2", "file:///a", "file:///b", "http://a:1", "https://b"];
                let words = ["info", "debug", "zisk.a", "zisk.b", "7"];
                let some: Vec<&str> = urls.into_iter().chain(words).collect();
                let some = some.iter().filter(|text| key.parse(text).is_ok());
                some.map(|&text| text.to_owned()).collect()
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory); // a temporary directory's
    }
}

/// Values that a key does not take; none where it takes any.
fn bad_values(key: &Key) -> Vec<String> {
    match key.kind {
        Kind::Switch => vec!["yes".to_owned()],
        Kind::OneOf(_) => vec!["other".to_owned()],
        Kind::Number { least, most, .. } => {
            let outside = [least.checked_sub(1), most.checked_add(1).filter(|&above| i64::try_from(above).is_ok())];
            outside.into_iter().flatten().map(|number| number.to_string()).chain(["-1".to_owned(), "many".to_owned()]).collect()
        }
        Kind::Text(Some(_)) | Kind::Url(Some(_)) => {
            let some: Vec<_> =
                [" , ", "a_b:"].iter().filter(|text| key.parse(text).is_err()).map(|&text| text.to_owned()).collect();
            assert!(!some.is_empty(), "{}: no bad value to try", key.name);
            some
        }
        Kind::Text(None) | Kind::Url(None) | Kind::Secret | Kind::Path => Vec::new(),
    }
}
