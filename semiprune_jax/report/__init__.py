from typing import NamedTuple, Any
class Contents(NamedTuple):
    classes: Any; examples: Any; pseudolabels: Any; truth: Any; scores: Any; coresets: Any; results: Any; lines: Any; quality: Any; images: Any; examples_a_row: Any; config: Any
def write(d, c): return str(c.results)[:1000]
