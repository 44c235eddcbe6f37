//! The terminal client: profile, driver, commands.
