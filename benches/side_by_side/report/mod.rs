//! What is told, worked out from the records alone.

mod figures;
mod head;
mod overview;
mod counted;
mod verdicts;
mod prices;
mod details;
mod axis;
mod chart;
mod plots;

use crate::blocks;
use crate::peers::Peer;
use crate::records::Records;
use crate::say::tell;
use crate::workloads::Workload;
use plots::Plot;
use std::fs;
use std::path::Path;

/// The part of a page that goes into the block of this name.
pub struct Section {
    pub name: String,
    pub title: String,
    pub text: String,
}

pub struct Report {
    sections: Vec<Section>,
    plots: Vec<Plot>,
}

/// What all parts of a report look at.
pub struct View<'a> {
    pub records: &'a Records,
    pub peers: &'a [&'static Peer],
    pub workloads: &'a [Workload],
}

/// How the names of blocks end that hold every figure there is.
const DETAILS: &str = "-details";

const PAGES: [&str; 2] = ["performance.md", "performance/every-figure.md"];
const PLOTS: &str = "performance";

impl Report {
    pub fn new(records: &Records, peers: &[&'static Peer], workloads: &[Workload]) -> Self {
        let view = View { records, peers, workloads };
        let mut sections = vec![head::section(&view)];
        sections.extend(overview::sections(&view));
        sections.extend(counted::sections(&view));
        sections.extend(verdicts::sections(&view));
        sections.extend(prices::section(&view));
        sections.extend(details::sections(&view));
        Self { sections, plots: plots::all(&view) }
    }

    pub fn text(&self) -> String {
        self.sections.iter().map(|section| format!("## {}\n\n{}\n\n", section.title, section.text.trim())).collect()
    }

    /// Replaces the blocks of the pages in this directory, and the plots.
    pub fn write_into(&self, docs: &Path) -> Result<(), String> {
        let pages = PAGES.map(|name| self.filled_in(docs, name));
        let pages = pages.into_iter().collect::<Result<Vec<Page>, String>>()?;
        for section in &self.sections {
            if !pages.iter().any(|page| page.blocks.contains(&section.name)) {
                tell(&format!("no page in docs has a block {}", section.name));
            }
        }
        self.draw(&docs.join(PLOTS))?;
        pages.iter().try_for_each(|page| page.put_in_place(docs))
    }

    /// A page with what was measured in its blocks.
    fn filled_in(&self, docs: &Path, name: &'static str) -> Result<Page, String> {
        let mut text = fs::read_to_string(docs.join(name)).map_err(|error| format!("docs/{name}: {error}"))?;
        let blocks: Vec<String> = blocks::names(&text).into_iter().map(Into::into).collect();
        for block in &blocks {
            let section = self.sections.iter().find(|section| section.name == *block).ok_or_else(|| {
                format!(
                    "docs are left as they are: nothing was measured for the block {block} of {name}, maybe for others"
                )
            })?;
            let replaced = blocks::replace(&text, block, &section.text).map_err(|why| format!("docs/{name}: {why}"))?;
            text = replaced.unwrap_or(text);
        }
        Ok(Page { name, blocks, text })
    }

    /// Writes the plots into this directory.
    pub fn draw(&self, directory: &Path) -> Result<(), String> {
        let told = |error| format!("the plots, in {}: {error}", directory.display());
        fs::create_dir_all(directory).map_err(told)?;
        for plot in &self.plots {
            fs::write(directory.join(format!("{}.svg", plot.name)), plot.svg.as_ref().map_err(Clone::clone)?)
                .map_err(told)?;
        }
        Ok(())
    }
}

struct Page {
    name: &'static str,
    blocks: Vec<String>,
    text: String,
}

impl Page {
    /// As a whole: whoever interrupts this finds the old page or the new one.
    fn put_in_place(&self, docs: &Path) -> Result<(), String> {
        let (path, new) = (docs.join(self.name), docs.join(format!("{}.new", self.name)));
        let written = fs::write(&new, &self.text).and_then(|()| fs::rename(&new, &path));
        written.map_err(|error| format!("docs/{}: {error}", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::PEERS;
    use crate::workloads::all;

    #[test]
    fn pages_are_left_as_they_are_unless_everything_on_them_was_measured() {
        let docs = std::env::temp_dir().join(format!("side_by_side_docs_{}", std::process::id()));
        let pages = PAGES.map(|name| docs.join(name));
        let old = ["post", "pipes"].map(|name| format!("<!-- begin {name} -->\nold\n<!-- end {name} -->\n"));
        fs::create_dir_all(docs.join(PLOTS)).unwrap();
        pages.iter().zip(&old).for_each(|(page, old)| fs::write(page, old).unwrap());
        let read = || pages.clone().map(|page| fs::read_to_string(page).unwrap());
        let peers: Vec<_> = PEERS.iter().collect();
        let mut records = Records::default();
        records.record("post", "asio", 0, "ns", 12.5).unwrap();
        let refused = Report::new(&records, &peers, &all()).write_into(&docs);
        assert!(refused.is_err_and(|why| why.contains("block pipes")));
        assert_eq!(read(), old);

        records.record("pipes-100-of-100", "asio", 0, "ns", 345.0).unwrap();
        Report::new(&records, &peers, &all()).write_into(&docs).unwrap();
        let new = read();
        fs::remove_dir_all(&docs).unwrap();
        assert!(new[0].contains("12.5") && new[1].contains("345") && !new.concat().contains("old"), "{new:?}");
    }
}
