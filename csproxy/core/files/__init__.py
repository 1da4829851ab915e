"""Configuration files: the JSON of configurations as code, read, compared and written, without any I/O.

`reading` makes file objects of a document, `planning` compares them with what is there and finds an order,
`batches` cuts the plan into transactions, `writing` makes a document of objects. What kinds of objects a file
holds, and under which names, is data (`kinds`).
"""
