"""Large tensors through both V2 doors: how fast, and how much memory each takes on its way."""
