"""The definitions that come with the package: one TOML file each."""
