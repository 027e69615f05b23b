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

const PAGE: &str = "performance.md";
const PLOTS: &str = "performance";

impl Report {
    pub fn new(records: &Records, peers: &[&'static Peer], workloads: &[Workload]) -> Self {
        let view = View { records, peers, workloads };
        let mut sections = vec![head::section(&view)];
        sections.extend(overview::sections(&view));
        sections.extend(counted::sections(&view));
        sections.extend(verdicts::section(&view));
        sections.extend(prices::section(&view));
        sections.extend(details::sections(&view));
        Self { sections, plots: plots::all(&view) }
    }

    pub fn text(&self) -> String {
        self.sections.iter().map(|section| format!("## {}\n\n{}\n\n", section.title, section.text.trim())).collect()
    }

    /// Replaces the blocks of the page in this directory, and its plots.
    pub fn write_into(&self, docs: &Path) -> Result<(), String> {
        let path = docs.join(PAGE);
        let told = |error| format!("docs/{PAGE}: {error}");
        let mut page = fs::read_to_string(&path).map_err(told)?;
        let is_unknown = |name: &&&str| !self.sections.iter().any(|section| section.name == **name);
        if let Some(name) = blocks::names(&page).iter().find(is_unknown) {
            return Err(format!(
                "docs/{PAGE} is left as it is: nothing was measured for its block {name}, maybe for others"
            ));
        }
        for section in &self.sections {
            match blocks::replace(&page, &section.name, &section.text).map_err(|why| format!("docs/{PAGE}: {why}"))? {
                Some(new) => page = new,
                // Not every page has room for all of them.
                None if section.name.ends_with(DETAILS) => {}
                None => tell(&format!("docs/{PAGE} has no block {}", section.name)),
            }
        }
        self.draw(&docs.join(PLOTS))?;
        // Put in place as a whole: whoever interrupts this finds the old page or the new one.
        let new = docs.join(format!("{PAGE}.new"));
        fs::write(&new, page).and_then(|()| fs::rename(&new, &path)).map_err(told)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::PEERS;
    use crate::workloads::all;

    #[test]
    fn a_page_is_left_as_it_is_unless_everything_on_it_was_measured() {
        let docs = std::env::temp_dir().join(format!("side_by_side_docs_{}", std::process::id()));
        let page = docs.join(PAGE);
        let old = "<!-- begin post -->\nold\n<!-- end post -->\n<!-- begin pipes -->\nold\n<!-- end pipes -->\n";
        fs::create_dir_all(&docs).unwrap();
        fs::write(&page, old).unwrap();
        let peers: Vec<_> = PEERS.iter().collect();
        let mut records = Records::default();
        records.record("post", "asio", 0, "ns", 12.5).unwrap();
        let refused = Report::new(&records, &peers, &all()).write_into(&docs);
        assert!(refused.is_err_and(|why| why.contains("block pipes")));
        assert_eq!(fs::read_to_string(&page).unwrap(), old);

        records.record("pipes-100-of-100", "asio", 0, "ns", 345.0).unwrap();
        Report::new(&records, &peers, &all()).write_into(&docs).unwrap();
        let new = fs::read_to_string(&page).unwrap();
        fs::remove_dir_all(&docs).unwrap();
        assert!(new.contains("12.5") && new.contains("345") && !new.contains("old"), "{new}");
    }
}
