"""The link over the vendor's kernel driver, releases 4.17.0 to 4.23.0 (driver.md 7)."""
