"""A product becomes a searchable vector.

product          what is sold, and a version of it
content          the part of a product that the encoder sees, and its hashes
catalog          products of a folder, a file or a table, read page by page
catalog_place    where it is, and what its catalogue.toml says
columns          which column of a catalogue is what
cells            what stands in one of its cells
catalog_files    rows out of JSON Lines, CSV and Parquet
catalog_sql      rows out of a table of any SQL database, of one moment
pictures         from a picture's name to its bytes
remote_pictures  from its address, waited for and given up in the end (with picture_cache)
picture_web      one picture over HTTP, from judged hosts only (with picture_hosts, picture_connection)
picture_stores   one picture from an object store
encoder          the role of the model (its twin for tests ships here)
uniecs_encoder   the UniECS model in that role
embedding        the one path from products to vectors, for batch and stream alike
vector_store     the role of the database, its rows and hits
in_memory        a dictionary in that role, for tests
milvus           Milvus in that role; milvus_store is one collection (with milvus_rows, write_lock)
refresh          ask, decide, act: brings the index up to changes
needs            decided there: what each change asks (by its standing), its row, the receipt
rebuild          a whole new collection beside the one that is served (with shards)
canary, publish  it is checked, then the alias moves
catch_up         what changes meanwhile is in it when it is served
reconcile        what is wrong in the index, as changes for the stream
search           ask what is served
build            the one place that chooses implementations
"""
