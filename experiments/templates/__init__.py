"""The pages that reports are poured into."""
