ROUTES: list[tuple[str, object]] = []
