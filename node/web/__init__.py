"""The pages: what the node does, in a browser. Server-rendered, no build step; a page holds no logic.

How to add a page
-----------------
1. `pages/NAME.py`, one room per group of pages, with its handlers and `ROUTES: list[Route]`; `site.py` finds it.

       @needs(Role.VIEWER)
       def show(request: Request) -> Response:
           with node_of(request).database.read() as tx: ...
           return render(request, "name.html", things=things)

       @needs(Role.OPERATOR)
       def retry(request: Request, form: Form) -> Response:
           sentence = control.retry(node_of(request).database, whole(form, "id"))
           return done(request, "/queue", sentence)

       ROUTES = [Route("/name", show), Route("/name/retry", retry, methods=["POST"])]
       NAVIGATION = Navigation(30, "/name", "Name")     # or a list of them, or none

   Handlers are plain functions and run in a thread: a question to the database may block. A POST handler gets the form
   after sign-in, role, Origin and token were checked; `{{ csrf() }}` stands in every form with method="post". What a
   handler raises as Refused or Unavailable becomes a sentence on the page one came from. Whoever needs no sign-in says
   `@public`; a handler with neither is refused when the site is made.
2. `templates/name.html` extends base.html: blocks `title` and `main`. Everything is escaped; never `| safe`, for every
   string of DICOM is hostile. `{{ patient(text) }}` hides a patient's name, id or accession number until somebody asks
   for them in this session, which is recorded. `when(seconds)`, `state(word)`, `may("operator")`, ...: see page.py.
   A module's function `banner(node) -> list of sentences` is shown on top of every page.
3. What lives is a fragment: an element with id, `data-refresh="/name/rows"` and `data-seconds="2"` is filled again by
   planimeter.js; its handler answers `fragment(request, "name_rows.html", make)`. `make` gives the values; where
   nothing was written to the database it is not even called, and where they are the same the answer is 304. Without a
   form in it say `shared=True`: then it is made once for all who look. Show
   absolute times: "3 s ago" would change every second.
4. No inline script, style or event attribute: the Content-Security-Policy forbids them. More script: a file of its own
   in static/, named in block `scripts`; buttons that cannot be undone have `data-confirm="..."`.
5. tests/pages.py has the fixtures; tests/test_pages.py walks all GET routes (axe-core, hostile strings, roles) by
   itself. A route with {parameters} is walked with what tests/pages.py: EXAMPLES says, so add yours there.
"""
