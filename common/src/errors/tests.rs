use std::path::{Path, PathBuf};

use super::*;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The sources that are built: what is in `src` of every member.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn codes_have_one_spelling_and_one_meaning() {
    let mut last = 0;
    for code in ErrorCode::ALL {
        assert!(code.number() > last, "{code} is out of order, or there twice");
        last = code.number();
        assert_eq!(code.to_string().parse(), Ok(*code));
        assert_eq!(serde_json::from_str::<ErrorCode>(&serde_json::to_string(code).unwrap()).unwrap(), *code);
        assert!((400..600).contains(&code.status()) && (1000..5000).contains(&code.number()), "{code}");
    }
    assert!("ZISK-9999".parse::<ErrorCode>().unwrap_err().to_string().contains("docs/errors"));
    assert!("zisk-1002".parse::<ErrorCode>().is_err());
}

#[test]
fn each_code_has_its_page_and_each_page_its_code() {
    let list = std::fs::read_to_string(repository().join("docs/errors/README.md")).unwrap();
    for code in ErrorCode::ALL {
        let page = std::fs::read_to_string(repository().join(code.page())).unwrap_or_else(|error| panic!("{code}: {error}"));
        assert!(page.starts_with(&format!("# {code}: {}\n", code.title())), "{code}: another title");
        for section in ["\n**What happened.** ", "\n**Usual causes.**", "\n**What to do.** "] {
            assert!(page.contains(section), "{code}: no {section:?}");
        }
        let line = format!("| [{code}]({code}.md) | {} | {} |", code.status(), code.title());
        assert!(list.contains(&line), "docs/errors/README.md lacks: {line}");
    }
    let lines = list.lines().filter(|line| line.starts_with("| [ZISK-")).count();
    assert_eq!(lines, ErrorCode::ALL.len(), "docs/errors/README.md lists what is no code");
    for entry in std::fs::read_dir(repository().join("docs/errors")).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let code = name.strip_suffix(".md").unwrap_or(&name);
        assert!(code == "README" || code.parse::<ErrorCode>().is_ok(), "docs/errors/{name} is the page of no code");
    }
}

#[test]
fn each_code_is_raised_somewhere() {
    let mut files = Vec::new();
    for member in ["common", "coordinator", "worker", "client"] {
        sources(&repository().join(member).join("src"), &mut files);
    }
    let elsewhere = |path: &&PathBuf| !path.components().any(|part| part.as_os_str() == "errors");
    let texts: Vec<String> = files.iter().filter(elsewhere).map(|path| std::fs::read_to_string(path).unwrap()).collect();
    for code in ErrorCode::ALL {
        let name = format!("ErrorCode::{}", code.name());
        let is_raised = |text: &String| {
            text.match_indices(&name).any(|(at, _)| !text[at + name.len()..].starts_with(|next: char| next.is_alphanumeric()))
        };
        assert!(texts.iter().any(is_raised), "nothing raises {code}: {name} is not used");
    }
}
