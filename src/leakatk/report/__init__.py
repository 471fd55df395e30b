"""Reports: content as data; HTML, tables and pictures made from it."""
