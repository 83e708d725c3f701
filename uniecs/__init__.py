"""UniECS: text, a picture, or both into one vector space.

tokenizer, preprocess            what goes in, and its numbers (no torch)
config, recipe                   the shape of a model, saved beside its weights; a run, from TOML
towers, fusion, model            the network
foreign_towers, foreign_files    pretrained towers of Hugging Face
readers                          texts for them, or for the built-in one (no torch)
drawn                            text as a picture: a title on a photo, a text to be looked at (no torch)
late_fusion, reference           what fuses otherwise: baselines, Beyond Text, the released code
rows, pairs                      the files people hand in; pairs as batches
losses, objectives, weighing     what a good space is, and how several terms become one
reference_losses                 the terms of the released code
views, learner, schedule, crew   one step; a batch in parts; several processes
train, checkpoint                one run, stopped and gone on with
ranking, intervals, evaluate     how well, and how surely (no torch)
mining, reverse                  options: same-style pairs from clicks; ranking by the other direction
promotion                        whether a new model may take the place of the old
judge                            the scenarios of a model in training
export, model_folder             the three ONNX graphs and the record that names them
runtime, kept                    onnxruntime serving them (no torch)
batched, several_pictures        rows that share runs; pictures that share tokens
quantize                         a copy with 8-bit weights
"""
