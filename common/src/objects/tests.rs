use std::path::{Path as FilePath, PathBuf};
use std::time::{Duration, SystemTime};

use super::*;
use crate::ids::JobId;

/// A directory of objects that goes with it.
struct Store {
    directory: PathBuf,
    objects: Objects,
}

impl Store {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("zisk-objects-{name}-{}", std::process::id()));
        Self { objects: Objects::in_directory(&directory).unwrap(), directory }
    }

    fn file(&self, object: ObjectRef) -> PathBuf {
        directory::file_of(&self.directory, &path_of(object.key))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn age(file: &FilePath) -> Duration {
    SystemTime::now().duration_since(std::fs::metadata(file).unwrap().modified().unwrap()).unwrap_or_default()
}

fn make_old(file: &FilePath) {
    let hour = Duration::from_secs(3600);
    std::fs::File::options().write(true).open(file).unwrap().set_modified(SystemTime::now() - hour).unwrap();
}

#[test]
fn store_urls() {
    assert_eq!("jetstream".parse::<StoreUrl>().unwrap(), StoreUrl::JetStream);
    let directory: StoreUrl = "file:///tmp/with space".parse().unwrap();
    assert_eq!(directory, StoreUrl::Directory(PathBuf::from("/tmp/with space")));
    let bucket: StoreUrl = "s3://bucket/a/b/".parse().unwrap();
    assert_eq!(
        (bucket.to_string().as_str(), &bucket),
        ("s3://bucket/a/b", &StoreUrl::S3(Bucket { name: "bucket".to_owned(), prefix: "a/b".to_owned() }))
    );
    assert_eq!(bucket.base(), "s3://bucket/a/b/");
    assert!("s3://key:secret@bucket".parse::<StoreUrl>().is_err());
    let error = "gs://bucket".parse::<StoreUrl>().unwrap_err().to_string();
    assert!(error.contains("file:///directory"), "{error}");
    assert!("file://relative".parse::<StoreUrl>().is_err());
}

#[tokio::test]
async fn damage_is_named_with_key_and_place() {
    let store = Store::new("damage");
    let object = store.objects.put(ObjectScope::Input, Bytes::from_static(b"ten bytes.")).await.unwrap();
    let file = store.file(object);
    let expect = async |words: &[&str]| {
        let error = store.objects.get(object).await.unwrap_err();
        assert!(error.is_damage(), "{error}");
        let text = error.to_string();
        let place = store.directory.display().to_string();
        for word in words.iter().copied().chain([object.key.to_string().as_str(), place.as_str()]) {
            assert!(text.contains(word), "{text}: no {word:?}");
        }
    };
    std::fs::write(&file, b"ten byteS.").unwrap();
    expect(&["altered", "10 bytes hash to"]).await;
    std::fs::write(&file, b"ten").unwrap();
    expect(&["truncated", "3 of its 10 bytes"]).await;
    std::fs::remove_file(&file).unwrap();
    expect(&["missing"]).await;
}

#[tokio::test]
async fn what_comes_back_within_seconds_is_read() {
    let store = Store::new("late");
    let object = store.objects.put(ObjectScope::Input, Bytes::from_static(b"input")).await.unwrap();
    let file = store.file(object);
    for damaged in [Some(b"inpuX".as_slice()), Some(b"in"), None] {
        match damaged {
            Some(bytes) => std::fs::write(&file, bytes).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        let late = file.clone();
        let restored = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(700)).await;
            std::fs::write(late, b"input").unwrap();
        });
        assert_eq!(store.objects.get(object).await.unwrap(), "input");
        restored.await.unwrap();
    }
}

#[tokio::test]
async fn storing_again_repairs_what_is_damaged_and_renews_what_is_not() {
    let store = Store::new("repair");
    let bytes = Bytes::from_static(b"program");
    let object = store.objects.put(ObjectScope::Program, bytes.clone()).await.unwrap();
    let file = store.file(object);
    for damaged in [b"prograM".as_slice(), b"pro", b"program and more"] {
        std::fs::write(&file, damaged).unwrap();
        assert!(!store.objects.renew(object).await.unwrap());
        assert_eq!(store.objects.put(ObjectScope::Program, bytes.clone()).await.unwrap(), object);
        assert_eq!(std::fs::read(&file).unwrap(), bytes);
    }
    make_old(&file);
    store.objects.put(ObjectScope::Program, bytes.clone()).await.unwrap();
    assert!(age(&file) < Duration::from_secs(60));
    make_old(&file);
    assert!(store.objects.renew(object.key).await.unwrap());
    assert!(age(&file) < Duration::from_secs(60));
    std::fs::remove_file(&file).unwrap();
    assert!(!store.objects.renew(object).await.unwrap());
}

#[tokio::test]
async fn the_sweep_removes_what_died_uploading_and_nothing_else() {
    let store = Store::new("sweep");
    let hour = Duration::from_secs(3600);
    let job = JobId::random();
    let object = store.objects.put(ObjectScope::Segment(job), Bytes::from_static(b"segment")).await.unwrap();
    let file = store.file(object);
    let (dead, alive) = (file.with_extension("x#17"), file.with_extension("y#3"));
    for upload in [&dead, &alive] {
        std::fs::write(upload, b"half of").unwrap();
    }
    // As an upload leaves it that died before its first byte.
    let folder = store.directory.join("job").join(JobId::random().to_string()).join("node");
    std::fs::create_dir_all(&folder).unwrap();
    assert_eq!(store.objects.sweep_uploads(hour / 2, 100).await.unwrap(), 0);
    make_old(&file);
    make_old(&dead);
    assert_eq!(store.objects.sweep_uploads(hour / 2, 100).await.unwrap(), 1);
    assert!(file.exists() && !dead.exists() && alive.exists());
    // All that is older than now, but never an object.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(store.objects.sweep_uploads(Duration::ZERO, 1).await.unwrap(), 1);
    store.objects.sweep_uploads(Duration::ZERO, 100).await.unwrap();
    assert!(file.exists() && !alive.exists());
    let listed = store.objects.list().await.unwrap();
    assert!(matches!(listed[..], [Stored { key, size: 7, age }] if key == object.key && age > hour / 2), "{listed:?}");
}

#[tokio::test]
async fn only_what_was_not_renewed_is_deleted_for_its_age() {
    let store = Store::new("age");
    let object = store.objects.put(ObjectScope::Input, Bytes::from_static(b"input")).await.unwrap();
    let hour = Duration::from_secs(3600);
    make_old(&store.file(object));
    assert!(store.objects.renew(object).await.unwrap());
    assert!(!store.objects.delete_old(object.key, hour / 2).await.unwrap());
    assert_eq!(store.objects.get(object).await.unwrap(), "input");
    make_old(&store.file(object));
    assert!(store.objects.delete_old(object.key, hour / 2).await.unwrap());
    assert!(!store.objects.delete_old(object.key, hour / 2).await.unwrap());
    assert_eq!(store.objects.head(object.key).await.unwrap(), None);
    assert_eq!(std::fs::read_dir(store.directory.join("input")).unwrap().count(), 0);
}
