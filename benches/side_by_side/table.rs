//! Tables in Markdown, padded so that they also read well in a terminal.

pub struct Table {
    rows: Vec<Vec<String>>,
    /// So many columns on the left hold words; the others hold numbers, which stand on the right.
    words: usize,
}

impl Table {
    pub fn new<T: Into<String>>(words: usize, head: impl IntoIterator<Item = T>) -> Self {
        Self { rows: vec![head.into_iter().map(Into::into).collect()], words }
    }

    pub fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    pub fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    pub fn text(&self) -> String {
        let columns = self.rows[0].len();
        let cell = |row: &Vec<String>, at: usize| row.get(at).map_or(String::new(), |cell| cell.replace('|', "\\|"));
        let widest = |at: usize| self.rows.iter().map(|row| cell(row, at).chars().count()).max().unwrap_or(0).max(3);
        let widths: Vec<usize> = (0..columns).map(widest).collect();
        let mut text = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            for (at, &width) in widths.iter().enumerate() {
                let cell = cell(row, at);
                text += &if at < self.words { format!("| {cell:<width$} ") } else { format!("| {cell:>width$} ") };
            }
            text += "|\n";
            if number == 0 {
                text += &self.rule(&widths);
            }
        }
        text
    }

    fn rule(&self, widths: &[usize]) -> String {
        let mut text = String::new();
        for (at, width) in widths.iter().enumerate() {
            text += &if at < self.words {
                format!("|{}", "-".repeat(width + 2))
            } else {
                format!("|{}:", "-".repeat(width + 1))
            };
        }
        text + "|\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_padded() {
        let mut table = Table::new(1, ["peer", "µs"]);
        table.row(["a|b", "1,234.5"]);
        table.row(["–", "7"]);
        let expected = "\
| peer |      µs |
|------|--------:|
| a\\|b | 1,234.5 |
| –    |       7 |
";
        assert_eq!(table.text(), expected);
    }
}
