"""UniECS: text, a picture, or both into one vector space.

tokenizer, preprocess            what goes in, and its numbers (no torch)
config                           the shape of a model; saved beside its weights
towers, fusion, model            the network
rows, pairs                      the files people hand in; pairs as batches
losses, train, evaluate          how it learns and how well
checkpoint, export               weights on disk; the three ONNX graphs
runtime                          the graphs served by onnxruntime (no torch)
"""
