//! The matrix of `docs/memory-types.md`: memory, exporter and door, found out in the guest.

use std::fs;

use clap::Args;

use super::{DmaBufError, Guest, MATRIX};
use crate::lab::Lab;
use crate::progress::Progress;

const PAGE: &str = "docs/memory-types.md";

/// The lines around the matrix in the page.
const BEGIN: &str = "<!-- matrix -->\n";
const END: &str = "<!-- end of matrix -->\n";

/// The lines around the matrix in what the test program prints.
const PRINTED: (&str, &str) = ("matrix:\n", "end of matrix\n");

/// Options of `cargo xtask matrix`.
#[derive(Debug, Args)]
pub struct MatrixArgs {
    /// Write it into docs/memory-types.md
    #[arg(long)]
    bless: bool,
}

/// Finds out the matrix, and prints it or writes it into the page.
///
/// # Errors
/// See [`DmaBufError`].
pub fn show_matrix(args: &MatrixArgs, lab: &Lab, progress: &Progress) -> Result<(), DmaBufError> {
    let guest = Guest::boot(lab, progress)?;
    let program = guest
        .programs
        .iter()
        .find(|program| program.target == MATRIX)
        .ok_or_else(|| DmaBufError::NoMatrix(String::new()))?;
    let said = guest.run(program, &[], &[])?.shown;
    let Some(matrix) = between(&said, PRINTED.0, PRINTED.1) else {
        return Err(DmaBufError::NoMatrix(said));
    };
    if !args.bless {
        print!("{matrix}");
        return Ok(());
    }
    let path = lab.checkout().join(PAGE);
    let failed = |action| {
        let path = path.clone();
        move |source| DmaBufError::Page {
            action,
            path,
            source,
        }
    };
    let page = fs::read_to_string(&path).map_err(failed("read"))?;
    let old = between(&page, BEGIN, END).ok_or_else(|| DmaBufError::NoMarks {
        path: path.clone(),
        begin: BEGIN.trim_end(),
        end: END.trim_end(),
    })?;
    let page = page.replace(
        &format!("{BEGIN}{old}{END}"),
        &format!("{BEGIN}{matrix}{END}"),
    );
    fs::write(&path, page).map_err(failed("write"))?;
    progress.say(&format!("{PAGE} has the matrix; look at what changed"));
    Ok(())
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(begin)?;
    let (found, _) = rest.split_once(end)?;
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_between_two_lines_is_found_even_if_it_is_nothing() {
        assert_eq!(between("a\nb\nc\n", "a\n", "c\n"), Some("b\n"));
        assert_eq!(between("a\nc\n", "a\n", "c\n"), Some(""));
        assert_eq!(between("a\nb\n", "a\n", "c\n"), None);
    }
}
