"""Configuration files: JSON, RAW and XML, read, compared and written, without any I/O.

`reading` makes file objects of a JSON document, `numbered` makes them of objects with the DBIDs of another master,
which `raw`, `xml` and the databases of a vendor hold; `any_form` tells the forms apart. `planning` compares file
objects with what is there and finds an order, `batches` cuts the plan into transactions, `writing` makes a JSON
document of objects. What kinds of objects that document holds, and under which names, is data (`kinds`).
"""
