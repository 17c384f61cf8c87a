//! Exit statuses, for whoever starts coherd. The manual has the same table.

/// The VMM hung up, coherd was asked to end, or what was asked for was printed.
pub const DONE: u8 = 0;
/// coherd could not start, or could not go on; its last line says why. Another try may go better.
pub const FAILED: u8 = 1;
/// The command line or the configuration file is wrong. Another try with the same fails as well.
/// clap ends with the same where it refuses an option.
pub const USAGE: u8 = 2;

/// The table, for people.
pub const HELP: &str = "\
Exit status:
  0  the VMM hung up, or coherd was asked to end
  1  coherd could not start or go on; the last line on stderr says why
  2  the command line or the configuration file is wrong";
