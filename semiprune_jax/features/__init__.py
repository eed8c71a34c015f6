"""Work on embeddings: neighbours, clusters, centres, graphs, coverage. numpy in and out, computed on the devices.

Arrays are f32[N, D]: N examples in the order of the pool. Neighbours and k-means work in blocks of rows, which have at
most ``blocks.BLOCK_BYTES`` and are spread over the devices of the process; ZCore works in blocks of samples. No memory
grows with N * N. Centres and graph networks hold all N rows on one device.
"""
