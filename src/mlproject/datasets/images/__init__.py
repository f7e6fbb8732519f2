"""A user's own images: files in folders or tables become arrays of one shape.

`layouts` finds out which images there are and what they show (`entries`): in folders (`trees`, by `walk`), in a manifest
(`tables`), in Parquet files (`shards`) or in an .npz file (`arrays`). `reading` reads such files, and `classes` checks what all
layouts must satisfy. `splits` sets test images aside, `decoding` reads one image of any format as its `preparation` says, and
`pixels` keeps all of them as bytes in a memory-mapped file. `folder` makes a data set of them; `check` and `sheet` say and show
what was found.
"""
