//! The table of results: through coherd against what the guest has without it.

use std::fmt;

#[derive(Debug)]
struct Row {
    what: String,
    ours: String,
    alone: String,
    ratio: String,
}

/// See the module's description.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// Adds frames per second, of which more is better. `None` is a driver that came to nothing;
    /// vkmark's are whole numbers, and what is under 1 is no measure.
    pub fn add_rate(&mut self, what: &str, ours: Option<f64>, alone: Option<f64>) {
        let shown = |rate: Option<f64>| match rate {
            None => "no result".to_owned(),
            Some(rate) if rate < 1.0 => "under 1 fps".to_owned(),
            Some(rate) => format!("{rate:.1} fps"),
        };
        let measured = ours.zip(alone).filter(|(_, alone)| *alone >= 1.0);
        let ratio = measured.map(|(ours, alone)| ours / alone);
        self.add(what, shown(ours), shown(alone), ratio);
    }

    /// Adds times in microseconds, of which less is better.
    pub fn add_time(&mut self, what: &str, ours: u64, alone: u64) {
        #[allow(clippy::cast_precision_loss, reason = "microseconds of a frame")]
        let [ours, alone] = [ours, alone].map(|micros| micros as f64 / 1000.0);
        let ratio = (ours > 0.0).then(|| alone / ours);
        self.add(
            what,
            format!("{ours:.1} ms"),
            format!("{alone:.1} ms"),
            ratio,
        );
    }

    fn add(&mut self, what: &str, ours: String, alone: String, ratio: Option<f64>) {
        let ratio = ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.1}x"));
        self.rows.push(Row {
            what: what.to_owned(),
            ours,
            alone,
            ratio,
        });
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<28} {:>16} {:>20} {:>8}",
            "in the guest", "through coherd", "on its own lavapipe", "faster"
        )?;
        for Row {
            what,
            ours,
            alone,
            ratio,
        } in &self.rows
        {
            writeln!(f, "{what:<28} {ours:>16} {alone:>20} {ratio:>8}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratio_says_how_much_faster_coherd_is() {
        let mut table = Table::default();
        table.add_rate("rate", Some(150.0), Some(3.0));
        table.add_time("time", 20_000, 1_000_000);
        table.add_rate("none", Some(150.0), None);
        table.add_rate("too slow", Some(150.0), Some(0.0));
        let ratios: Vec<&str> = table.rows.iter().map(|row| row.ratio.as_str()).collect();
        assert_eq!(ratios, ["50.0x", "50.0x", "-", "-"]);
    }
}
