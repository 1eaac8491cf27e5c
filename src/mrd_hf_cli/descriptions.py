"""What `--help` of the short commands begins with."""

CLASSIFY = """\
Say what shapes are, among labels of your own; the scores of a shape's labels add up to 1, unless you ask for cosines.

  mrd-hf classify chair.glb scans/*.ply --labels "chair,table,lamp"
  mrd-hf classify chair.glb --labels-file labels.txt --template "a photo of a {}." --json
  mrd-hf classify chair.glb --class-texts class_texts.parquet
  mrd-hf classify chair.glb --model onnx/encoder.onnx

The last is for an encoder that `mrd-hf export --class-texts` wrote: its labels lie beside it, and no torch is needed.
"""
SCORE = """\
Say how well shapes fit texts or pictures, such as the prompts that they were generated from: cosines of embeddings.

  mrd-hf score chair.glb --text "a red armchair" --text "a mug"
  mrd-hf score generated/ --image photo.jpg --measure scaled
  mrd-hf score --pairs prompts.csv -o scores.csv
  mrd-hf score generated.parquet --class-texts prompts.parquet --json

--pairs is a CSV file with a shape and its prompt in each line, under the names shape and text (or image). Besides the
mean it gives the R-precision: how many shapes have their own prompt as the nearest of all.
Files that cannot be read are reported and left out, and the exit code is then 1.
"""
EMBED = """\
Embed shapes into a parquet file: a row each, with the columns path, embedding and model.

  mrd-hf embed chair.glb models/ -o models.parquet

Files that cannot be read are reported and left out, and the exit code is then 1.
"""
INDEX = """\
Make an index to search of a folder of shapes, of what `mrd-hf embed` wrote, or of a triplet dataset.

  mrd-hf index models/ -o models-index
  mrd-hf index models.parquet -o models-index
  mrd-hf index scripts/demo_data --dataset -o demo-index
"""
SEARCH = """\
Find the shapes of an index that are nearest to a text, a picture or a shape; scores are cosines.

  mrd-hf search models-index "a red armchair"
  mrd-hf search models-index --image photo.jpg -k 20
  mrd-hf search models-index --shape chair.glb --json
"""
RENDER = """\
Draw a mesh or a point cloud on the CPU into a PNG; several views around it become a strip.

  mrd-hf render chair.glb -o chair.png --views 4
"""
INSPECT = """\
Show what is read of shapes: parts, faces, area, bounding box, colours, extensions, and what is left out.

  mrd-hf inspect chair.glb
  mrd-hf inspect models/ scan.ply --parts
  mrd-hf inspect broken.glb --json

A file that cannot be read is listed with its error, and the exit code is then 1. Add the output to a bug report.
"""
