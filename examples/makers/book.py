"""The observer's memoir as an EPUB of three chapters. Written as a plain archive: the format is little more than that."""

import zipfile
from html import escape
from pathlib import Path

TITLE = "Sixty Winters at Rönnforsen"
AUTHOR = "Elsa Nyström"

CHAPTERS = {
    "The staff": """
My father read the staff before me and his aunt before him. It was a board of larch with black and white fields, nailed to the
pier of the old bridge, and every morning at seven somebody from our house walked down the four hundred and twelve steps of the
path, in any weather, and wrote a number in a book with a blue cover. I say steps because I counted them as a child. It was the
first thing that I ever measured.

I took over on 1 March 1958, when I was eleven and my father had broken his leg in the forest. He lay in the kitchen and did not
believe my numbers. “Two hundred and six,” I said, and he said, “It was two hundred and two yesterday and it has frozen all
night; go back and look again.” I went back. It was two hundred and six. Ice had begun to build on the bed, what the engineers
call frazil, and it lifts the river as yeast lifts dough. That was the second thing I learned: that a number can be right
although everybody at the table knows better.

For this work the Institute paid forty-five kronor a month, and it came in an envelope from Stockholm with a window in it. My
mother put it in the tin with the picture of the king. When I married Arvid in 1969 the tin held enough for a sewing machine.
""",
    "The spring of 1966": """
People ask about the spring of 1966, so I will tell it once and properly. The winter had been long, with snow to the eaves of
the baker's cottage. On 12 May it was still freezing at night. On the fourteenth the wind went to the south, and it was
twenty-one degrees in the shade, and the mountains let go of everything at once.

I read the staff at seven in the morning and it was 318. At noon, 371. I did not have to read at noon; I read because of the
sound. A river in flood does not roar as they write in novels. It hums, and under the hum the stones knock against each other
on the bottom like somebody walking about in the cellar. At six in the evening the staff was gone. I do not mean that the water
covered it. The board came off, with the nails, and I saw it go past the chapel, black and white, black and white.

So I had no staff and a river to measure. I took the chapel. It has seven steps of granite, each seventeen centimetres and a half, which
I knew because we had sat on them at confirmation. At half past ten that night, by a lantern, the water stood on the second
step from the ground and wet the front of my shoes when a wave came. I made a mark with the bread knife in the door post. The
surveyor came by train in July, a thin man with his own sandwiches, and levelled my mark, and it came to five metres and
ten centimetres. He shook my hand. He said that it was the best observation on the whole river that year and that it had been
made with a bread knife. I still have the knife.
""",
    "The radar": """
They came in August 2015, a young woman called Ingrid and two men with a drill, and put an arm on the new bridge with a
grey pot at the end of it. Ingrid drank her coffee without sugar and explained that the pot sends out a wave
and listens, forty times for each reading, four readings an hour. I said that I had sent out my eyes once a day for fifty-seven
years and that I hoped the pot would not catch cold.

For one whole year we both read, the pot and I. That was my condition. We differed by more than two centimetres on nine days. On
six of them I was wrong, for I had new glasses. On two the pot had measured a sheet of ice with water under it. And on one, the
third of February, neither of us ever found out. Ingrid wrote it in the report exactly like that, “cause unknown”, and from
then on I trusted her with my river.

I made my last entry on 28 February 2018, at seven in the morning: 187, ice along both banks, minus nineteen, a dipper singing
under the bridge. That made sixty winters. There are twenty-one blue books. They stand in the county archive in Östersund under the
number JLA 1147, where anybody may read them who can read my father's sevens.

The arm has been bent by ice three times and they change it every time. I see it from the kitchen window. I still walk down at
seven, because of the hip, which wants to be walked. There is no board any more, but I look at the stone with the rust stain and
say the number aloud, and in the evening I ask my grandson to look at his telephone. I am seldom more than three centimetres off.
""",
}

CONTAINER = """<?xml version="1.0" encoding="UTF-8"?>
<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">
<rootfiles><rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles>
</container>
"""


def write(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip", zipfile.ZIP_STORED)
        archive.writestr("META-INF/container.xml", CONTAINER)
        archive.writestr("OEBPS/book.opf", _package())
        archive.writestr("OEBPS/nav.xhtml", _contents())
        for number, (heading, text) in enumerate(CHAPTERS.items(), 1):
            paragraphs = "\n".join(f"<p>{escape(' '.join(block.split()))}</p>" for block in text.strip().split("\n\n"))
            archive.writestr(
                f"OEBPS/chapter{number}.xhtml", _page(heading, f"<h1>{escape(heading)}</h1>\n{paragraphs}")
            )


def _package() -> str:
    numbers = range(1, len(CHAPTERS) + 1)
    items = "".join(f'<item id="c{n}" href="chapter{n}.xhtml" media-type="application/xhtml+xml"/>\n' for n in numbers)
    spine = "".join(f'<itemref idref="c{n}"/>' for n in numbers)
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id">
<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:identifier id="id">urn:uuid:7d3b1f52-94c8-4e0a-8b67-21f5c0d9ae36</dc:identifier>
<dc:title>{TITLE}</dc:title><dc:creator>{AUTHOR}</dc:creator><dc:language>en</dc:language>
<meta property="dcterms:modified">2025-02-01T00:00:00Z</meta>
</metadata>
<manifest>
<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>
{items}</manifest>
<spine>{spine}</spine>
</package>
"""


def _contents() -> str:
    links = "".join(f'<li><a href="chapter{n}.xhtml">{escape(h)}</a></li>' for n, h in enumerate(CHAPTERS, 1))
    return _page(TITLE, f'<nav epub:type="toc"><h1>{TITLE}</h1><ol>{links}</ol></nav>')


def _page(title: str, body: str) -> str:
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops" xml:lang="en">
<head><title>{escape(title)}</title></head>
<body>
{body}
</body>
</html>
"""
