"""What a person looks at: report page, plots, tables, model card."""
