//! The docs and the code say the same. Every check here reads files only.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files under `folder` with this extension, as paths from the root, in order.
fn files(folder: &str, extension: &str) -> Vec<String> {
    let (mut found, mut folders) = (Vec::new(), vec![PathBuf::from(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root().join(&folder)).expect("a folder").map(Result::unwrap) {
            let path = folder.join(entry.file_name());
            if entry.path().is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(path.to_str().expect("UTF-8").to_owned());
            }
        }
    }
    found.sort();
    found
}

fn pages() -> Vec<String> {
    let mut pages = files("docs", "md");
    pages.extend(["README.md", "CHANGELOG.md", "CONTRIBUTING.md"].map(str::to_owned));
    pages
}

// Promises.

/// The ids at the start of a doc comment: `P1, P9: a sentence`.
fn ids(comment: &str) -> Vec<u32> {
    let Some((ids, _)) = comment.split_once(": ") else {
        return Vec::new();
    };
    let ids: Option<Vec<u32>> = ids.split(", ").map(|id| id.strip_prefix('P')?.parse().ok()).collect();
    ids.unwrap_or_default()
}

/// Which tests carry which promise, told by the first line of their doc comments.
fn tests_of_promises() -> BTreeMap<u32, Vec<String>> {
    let mut tests = BTreeMap::<u32, Vec<String>>::new();
    for file in files("tests", "rs") {
        let (text, mut first) = (read(&file), None);
        for line in text.lines().map(str::trim_start) {
            if let Some(comment) = line.strip_prefix("/// ") {
                first.get_or_insert(comment);
            } else if let Some(name) = line.strip_prefix("fn ").and_then(|rest| rest.split('(').next()) {
                for id in first.take().map(ids).unwrap_or_default() {
                    tests.entry(id).or_default().push(format!("`{file}::{name}`"));
                }
            } else if !line.starts_with("#[") && !line.starts_with("///") {
                first = None;
            }
        }
    }
    tests
}

/// `docs/promises.md` names every test that carries a promise, and every promise is carried by a test.
#[test]
fn every_promise_has_a_row_with_its_tests() {
    const PAGE: &str = "docs/promises.md";
    let (mut tests, page) = (tests_of_promises(), read(PAGE));
    let (mut updated, mut rows, mut bare) = (String::new(), Vec::new(), Vec::new());
    for line in page.lines() {
        let cells: Vec<&str> = line.split(" | ").collect();
        match cells[..] {
            [id, sentence, _] if id.starts_with("| P") => {
                let number: u32 = id["| P".len()..].parse().expect("a number");
                let tests = tests.remove(&number).unwrap_or_default();
                if tests.is_empty() {
                    bare.push(number);
                }
                rows.push(number);
                updated += &format!("{id} | {sentence} | {} |\n", tests.join("<br>"));
            }
            _ => updated += &format!("{line}\n"),
        }
    }
    assert_eq!(rows, (1..=35).collect::<Vec<_>>(), "the rows of {PAGE}");
    assert!(tests.is_empty(), "promises that {PAGE} does not know: {tests:?}");
    if std::env::var_os("REWRITE").is_some() {
        fs::write(root().join(PAGE), updated).expect("written");
    } else {
        assert!(updated == page, "{PAGE} is out of date: REWRITE=1 cargo test --test docs");
    }
    assert!(bare.is_empty(), "no test carries {bare:?}");
}

// Steps.

/// The figure and the traces of the docs use the step names of the code.
#[test]
fn the_steps_have_the_same_names_in_code_and_docs() {
    let code = read("src/engine/progress.rs");
    let is_step = |name: &&str| name.starts_with(|c: char| c.is_ascii_digit());
    let steps: Vec<&str> =
        code.lines().filter_map(|line| line.split("=> \"").nth(1)?.strip_suffix("\",")).filter(is_step).collect();
    assert_eq!(steps.len(), 7, "{steps:?}");

    let page = read("docs/how-the-loop-works.md");
    let section = page.split("\n## One turn\n").nth(1).expect("the section of the turn");
    let figure = section.split("```").nth(1).expect("its figure");
    let drawn = figure.lines().filter_map(|line| {
        let name = &line[line.find(|c: char| c.is_ascii_digit())?..];
        Some(name.split("  ").next()?.trim())
    });
    assert_eq!(drawn.take(7).collect::<Vec<_>>(), steps);

    for page in pages() {
        for line in read(&page).lines().filter(|line| line.trim_start().starts_with("turn ")) {
            if let [_, step, _] = line.split(" | ").collect::<Vec<_>>()[..] {
                assert!(steps.contains(&step.trim()), "{page}: {line}");
            }
        }
    }
}

// Links.

/// What a heading is linked by.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>();
    kept.replace(' ', "-")
}

/// Every relative link leads to a file, and to a heading in it if it names one.
#[test]
fn links_lead_somewhere() {
    for page in pages() {
        let text = read(&page);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => root().join(&page),
                path => root().join(&page).parent().expect("a folder").join(path),
            };
            assert!(target.exists(), "{page}: {link}");
            if !heading.is_empty() {
                let text = read(target);
                let mut headings = text.lines().filter(|line| line.starts_with('#'));
                assert!(headings.any(|line| anchor(line.trim_start_matches(['#', ' '])) == heading), "{page}: {link}");
            }
        }
    }
}

/// Every path in backticks leads to a file of the repository.
#[test]
fn paths_in_the_text_exist() {
    for page in pages() {
        for path in read(&page).lines().flat_map(|line| line.split('`').skip(1).step_by(2)) {
            let path = path.split("::").next().unwrap_or(path);
            // A published package has no `.ci`.
            let folders = ["src/", "docs/", "examples/", "tests/", ".ci/"];
            let is_path = folders.iter().any(|folder| path.starts_with(folder) && root().join(folder).exists());
            assert!(!is_path || path.contains(' ') || root().join(path).exists(), "{page}: {path}");
        }
    }
}

// Floors.

/// The modules of the library in the order of their `mod` lines, each with its file: `crate::engine::turn`.
fn modules() -> Vec<(String, String)> {
    fn descend(module: &str, file: &str, folder: &str, all: &mut Vec<(String, String)>) {
        all.push((module.to_owned(), file.to_owned()));
        for line in read(file).lines() {
            let line = line.strip_prefix("pub(crate) ").or(line.strip_prefix("pub ")).unwrap_or(line);
            if let Some(name) = line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')) {
                let (leaf, inner) = (format!("{folder}/{name}.rs"), format!("{folder}/{name}"));
                let file = if root().join(&leaf).exists() { leaf } else { format!("{inner}/mod.rs") };
                descend(&format!("{module}::{name}"), &file, &inner, all);
            }
        }
    }
    let mut all = Vec::new();
    descend("crate", "src/lib.rs", "src", &mut all);
    all
}

/// The paths that a file of this module names, from the crate's root: imports, and paths in the code.
fn paths_named(module: &str, text: &str) -> Vec<String> {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text);
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let parent = module.rsplit_once("::").map_or("crate", |(parent, _)| parent);
    let mut paths = Vec::new();
    for (root, replacement) in [("crate::", "crate::"), ("super::", &format!("{parent}::"))] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || ":_$".contains(c)) {
                continue; // `$crate`, or the end of a longer word.
            }
            let rest = &code[at + root.len()..];
            let path = rest.split(|c: char| !c.is_alphanumeric() && !":_{".contains(c)).next().unwrap_or("");
            match path.split_once('{') {
                None => paths.push(format!("{replacement}{path}")),
                Some((stem, _)) => {
                    let group = rest.split_once('{').and_then(|(_, rest)| rest.split(';').next()).unwrap_or("");
                    let names = group.split([',', '{', '}']).map(str::trim).filter(|name| !name.is_empty());
                    paths.extend(names.map(|name| format!("{replacement}{stem}{name}")));
                }
            }
        }
    }
    paths
}

/// The table of floors lists every file of the library, in the reading order.
#[test]
fn the_table_of_floors_is_complete() {
    let page = read("docs/design.md");
    let table = page.lines().filter(|line| line.starts_with("| ")).flat_map(|line| line.split('`').skip(1).step_by(2));
    let listed: Vec<&str> = table.filter(|path| path.starts_with("src/")).collect();
    let modules = modules();
    let files = modules.iter().map(|(_, file)| file.as_str());
    let files: Vec<&str> = files.filter(|file| !file.ends_with("mod.rs") && *file != "src/lib.rs").collect();
    assert_eq!(listed, files);
}

/// A file uses only files above it in the one list that is the reading order and the order of the `mod` lines.
#[test]
fn a_file_uses_only_files_of_lower_floors() {
    let modules = modules();
    let floor_of = |path: &str| {
        let is_in =
            |module: &str| path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
        modules.iter().enumerate().filter(|(_, (module, _))| is_in(module)).max_by_key(|(_, (module, _))| module.len())
    };
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for (floor, (module, file)) in modules.iter().enumerate().skip(1) {
        for path in paths_named(module, &read(file)) {
            let Some((target, (used, _))) = floor_of(&path).filter(|(floor, _)| *floor > 0) else {
                continue; // An item of the crate's root, `super::*` of an inner module.
            };
            seen += 1;
            let is_child = used.starts_with(&format!("{module}::"));
            if target > floor && !is_child {
                wrong.push(format!("{file} uses {path}"));
            }
        }
    }
    assert!(seen > 50, "only {seen} imports were found");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
