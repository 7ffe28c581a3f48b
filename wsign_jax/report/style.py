"""The style sheet of `report.html`, all in rem, so that it grows with the reader's text size."""

STYLE = """
:root{color-scheme:light dark;--row:1.25rem;--line:1.55rem;
--paper:#fff;--card:#f4f5f7;--ink:#1c1c1c;--soft:#555;--rule:#c9ccd1;--link:#0b57a4;
--C:#1b6e3c;--Cb:#e3f3e8;--S:#8a4300;--Sb:#fdebd8;--D:#a11d33;--Db:#fbe3e6;--I:#1f4fa8;--Ib:#e2eafb}
@media(prefers-color-scheme:dark){:root{
--paper:#15171a;--card:#202429;--ink:#e8e8e8;--soft:#b0b4ba;--rule:#454b53;--link:#8ec1ff;
--C:#7fd6a0;--Cb:#173323;--S:#ffb877;--Sb:#402a12;--D:#ff9dab;--Db:#451c25;--I:#a8c4ff;--Ib:#1d2c4d}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:75rem;padding:0 1rem 3rem;background:var(--paper);color:var(--ink);
font:1rem/1.45 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.6rem;margin:1.2rem 0 .8rem}h2{font-size:1.25rem;margin:2.2rem 0 .6rem}
h3{font-size:1rem;margin:1.2rem 0 .3rem}
small,.legend,figcaption{color:var(--soft);font-size:.85rem;font-weight:normal}
a{color:var(--link)}
:focus-visible{outline:2px solid var(--link);outline-offset:2px}
.warning{border:2px solid var(--D);background:var(--Db);border-radius:.5rem;padding:.8rem 1rem;
font-size:1.05rem}
.warning b{color:var(--D);display:block}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(10.5rem,1fr));gap:.7rem;margin:0}
.cards div{background:var(--card);border-radius:.5rem;padding:.6rem .8rem}
.cards dt{color:var(--soft);font-size:.9rem}.cards dd{margin:0}
.cards b{display:block;font-size:1.7rem;line-height:1.25}
.scroll{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;font-size:.92rem;overflow-wrap:normal}
th,td{padding:.25rem .7rem;text-align:right;vertical-align:top;border-bottom:1px solid var(--rule);
font-variant-numeric:tabular-nums}
th{vertical-align:bottom}
.text1 :is(th,td):first-child,.text2 :is(th,td):nth-child(-n+2),.text1 :is(th,td):nth-child(7):last-child
{text-align:left}
.side{display:flex;flex-wrap:wrap;gap:1.5rem;align-items:flex-start}
figure{margin:0;flex:0 1 auto;max-width:100%}
.diagram{max-width:min(100%,44rem);height:auto;display:block}.diagram.small{width:22rem}
details{border-bottom:1px solid var(--rule);padding:.35rem 0}
summary{cursor:pointer;padding:.2rem 0}
.edits{list-style:none;display:flex;flex-wrap:wrap;gap:.35rem;padding:0;margin:.4rem 0 .9rem}
.edits li{display:flex;flex-direction:column;align-items:center;padding:.2rem .5rem;border-radius:.35rem;
border-top:.2rem solid;min-width:3.2rem;max-width:100%;font-size:.92rem}
.edits span{color:var(--ink)}.edits small{font-size:.78rem}
.edits b,.legend b{font-family:ui-monospace,monospace;font-size:1rem}
.C{color:var(--C)}.S{color:var(--S)}.D{color:var(--D)}.I{color:var(--I)}
li.C{background:var(--Cb)}li.S{background:var(--Sb)}li.D{background:var(--Db)}li.I{background:var(--Ib)}
.timeline{display:grid;grid-template-columns:fit-content(10rem) minmax(34rem,1fr);gap:.3rem .5rem;
min-width:45rem;margin-bottom:1rem}
.names{font-size:.8rem;text-align:right;color:var(--soft);min-width:0}
.names span{display:block;height:var(--row);line-height:var(--row);overflow:hidden;white-space:nowrap;
text-overflow:ellipsis}
.heat{width:100%;image-rendering:pixelated;display:block}
.track{position:relative;overflow:hidden;background:repeating-linear-gradient(90deg,var(--rule) 0 1px,
transparent 1px var(--tick)) var(--card)}
.track span{position:absolute;border-top:.4rem solid;height:var(--line);white-space:nowrap}
.track .end{display:flex;justify-content:flex-end}
.track span.D{border-top-style:dashed}.track span.S{border-top-style:double}
.track i{display:block;font:.78rem/1.1rem system-ui,sans-serif;padding:0 .1rem;color:var(--ink)}
.axis{position:relative;height:var(--row);font-size:.8rem;color:var(--soft)}
.axis span{position:absolute;border-left:1px solid var(--soft);padding-left:.2rem;
line-height:var(--row)}
@media print{details:not([open]){display:none}}
"""
