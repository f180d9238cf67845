//! What a directory of objects offers beyond `object_store`'s trait.
//!
//! What is being written is beside its object under the object's name, `#` and a number; no listing shows such a file.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path as FilePath, PathBuf};
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use object_store::Error;
use object_store::path::Path;

/// Makes an object as new as one written now; false when it is not there.
pub(super) async fn renew(directory: &FilePath, location: &Path) -> Result<bool, Error> {
    let file = file_of(directory, location);
    blocking(move || match File::options().write(true).open(&file).and_then(|file| file.set_modified(SystemTime::now())) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    })
    .await
}

/// Deletes an object unless it was written or renewed since.
pub(super) async fn delete_written_before(directory: &FilePath, location: &Path, before: DateTime<Utc>) -> Result<bool, Error> {
    let file = file_of(directory, location);
    blocking(move || {
        // Out of sight first, so that nobody can renew it between the look at its time and its end.
        let aside = aside(&file);
        match fs::rename(&file, &aside) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            renamed => renamed?,
        }
        let old = written(&aside)? < before;
        if old || file.exists() {
            // If it exists it was written anew meanwhile.
            fs::remove_file(&aside)?;
        } else {
            fs::rename(&aside, &file)?;
        }
        Ok(old)
    })
    .await
}

/// Removes the files of uploads that died, and folders that such uploads left empty, if last written before then; at most `limit`.
pub(super) async fn sweep_uploads(directory: &FilePath, before: DateTime<Utc>, limit: usize) -> Result<u64, Error> {
    let root = directory.to_owned();
    blocking(move || {
        let mut swept = 0;
        let mut folders = vec![(root.clone(), false)];
        while let Some((folder, seen)) = folders.pop() {
            if swept >= limit as u64 {
                break;
            }
            if seen {
                // Its contents have been looked at; what is not empty stays.
                if folder != root && written(&folder).is_ok_and(|time| time < before) && fs::remove_dir(&folder).is_ok() {
                    swept += 1;
                }
                continue;
            }
            let entries = match fs::read_dir(&folder) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                entries => entries?,
            };
            folders.push((folder, true));
            for entry in entries {
                let entry = entry?;
                let path = entry.path();
                if entry.file_type()?.is_dir() {
                    folders.push((path, false));
                } else if is_upload(&path) && written(&path).is_ok_and(|time| time < before) {
                    fs::remove_file(&path)?;
                    tracing::debug!(file = %path.display(), "upload that died removed");
                    swept += 1;
                }
            }
        }
        Ok(swept)
    })
    .await
}

/// The time by the clock that files here are dated by, which need not be this machine's.
pub(super) async fn now(directory: &FilePath) -> Result<DateTime<Utc>, Error> {
    let probe = directory.join(format!("clock#{}", std::process::id()));
    blocking(move || {
        File::create(&probe)?;
        let now = written(&probe)?;
        fs::remove_file(&probe)?;
        Ok(now)
    })
    .await
}

/// Where an object is. Our keys hold nothing that a file system would want otherwise.
pub(super) fn file_of(directory: &FilePath, location: &Path) -> PathBuf {
    location.parts().fold(directory.to_owned(), |path, part| path.join(part.as_ref()))
}

fn aside(file: &FilePath) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!("#{}", std::process::id()));
    name.into()
}

fn is_upload(file: &FilePath) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.split_once('#').is_some_and(|(_, number)| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

fn written(path: &FilePath) -> io::Result<DateTime<Utc>> {
    Ok(fs::metadata(path)?.modified()?.into())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|error| generic(error.into()))?;
    done.map_err(|error| generic(error.into()))
}

fn generic(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::Generic { store: "directory", source }
}
