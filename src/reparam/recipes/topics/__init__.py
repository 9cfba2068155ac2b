"""Topics of documents, their shares Dirichlet."""
