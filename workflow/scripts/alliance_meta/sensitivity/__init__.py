"""How much a result rests on single studies, single codes and single decisions."""
