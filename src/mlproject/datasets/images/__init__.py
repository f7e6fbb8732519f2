"""Images of one's own: files in folders or tables become arrays of one shape.

`layouts` finds out which images there are and what they show (`entries`), `splits` sets test images aside, `decoding` reads one
image of any format, and `pixels` keeps all of them as bytes in a memory-mapped file. `folder` makes a data set of them;
`check` and `sheet` say and show what was found.
"""
