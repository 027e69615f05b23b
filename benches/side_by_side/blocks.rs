//! The parts of a Markdown page that this program writes: between `<!-- begin NAME -->` and `<!-- end NAME -->`.

/// The page with the text of one block replaced; `None` when the page has no such block.
pub fn replace(page: &str, name: &str, text: &str) -> Result<Option<String>, String> {
    let (begin, end) = (format!("<!-- begin {name} -->"), format!("<!-- end {name} -->"));
    let Some((before, rest)) = page.split_once(&begin) else { return Ok(None) };
    let Some((old, after)) = rest.split_once(&end) else { return Err(format!("no line {end}")) };
    if old.contains("<!-- begin ") {
        return Err(format!("another block begins before {end}"));
    }
    if after.contains(&begin) {
        return Err(format!("{begin} is there twice"));
    }
    Ok(Some(format!("{before}{begin}\n\n{}\n\n{end}{after}", text.trim())))
}

/// The names of the blocks of a page.
pub fn names(page: &str) -> Vec<&str> {
    page.split("<!-- begin ").skip(1).filter_map(|rest| Some(rest.split_once(" -->")?.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Page\n<!-- begin a -->\nold\n<!-- end a -->\nbetween\n<!-- begin a-b -->\n<!-- end a-b -->\n";

    #[test]
    fn a_block_is_replaced() {
        let page = replace(PAGE, "a", "| new |\n").unwrap().unwrap();
        assert!(page.starts_with("# Page\n<!-- begin a -->\n\n| new |\n\n<!-- end a -->\nbetween\n"), "{page}");
        assert_eq!(replace(&page, "a", "| new |\n").unwrap().unwrap(), page);
        assert!(replace(PAGE, "a-b", "x").unwrap().unwrap().ends_with("<!-- begin a-b -->\n\nx\n\n<!-- end a-b -->\n"));
    }

    #[test]
    fn other_blocks_are_told() {
        assert_eq!(replace(PAGE, "b", "x"), Ok(None));
        assert!(replace("<!-- begin a -->", "a", "x").is_err());
        assert!(replace("<!-- begin a --><!-- begin b --><!-- end a -->", "a", "x").is_err());
        assert!(replace("<!-- begin a --><!-- end a --><!-- begin a -->", "a", "x").is_err());
    }

    #[test]
    fn blocks_are_named() {
        assert_eq!(names(PAGE), ["a", "a-b"]);
    }
}
