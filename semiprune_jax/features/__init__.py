"""What is done with embeddings: neighbours, clusters, prototypes, centres. numpy in and out, computed on the devices.

Arrays are f32[N, D]: N examples in the order of the pool. Work is done in blocks of rows of at most ``BLOCK_BYTES``,
spread over the devices, so that memory does not grow with N * N.
"""
