"""What is done with embeddings: neighbours, clusters, prototypes, centres. numpy in and out, computed on the devices.

Arrays are f32[N, D]: N examples in the order of the pool. Neighbours and k-means work in blocks of rows of at most
``blocks.BLOCK_BYTES``, spread over the devices of the process, ZCore in blocks of samples; no memory grows with N * N.
Centres and graph networks hold all N rows on one device.
"""
