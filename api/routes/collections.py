"""Owns the routes of collections."""

from fastapi import APIRouter

from api.access import Admin, Ingester, Opened, Reader, find_home
from api.library import delete_collection
from api.schemas import CollectionIn, CollectionList, CollectionOut
from api.views import collection_out
from store import catalog
from store.database import reading, transaction

router = APIRouter(prefix="/v1/collections", tags=["collections"])


@router.post("", status_code=201, summary="Make a collection")
def make(resources: Opened, caller: Ingester, body: CollectionIn) -> CollectionOut:
    """Makes a collection, or shows the one of that name; uploading to a new name makes it too."""
    with transaction(resources.engine) as session:
        home = catalog.ensure_collection(session, caller.tenant, caller.require(body.name))
        return collection_out(session, home, resources.sums)


@router.get("", summary="List collections")
def list_collections(resources: Opened, caller: Reader) -> CollectionList:
    """The collections that the key reaches, with their figures."""
    with reading(resources.engine) as session:
        homes = [home for home in catalog.list_collections(session, caller.tenant) if caller.reaches(home.name)]
        return CollectionList(items=[collection_out(session, home, resources.sums) for home in homes])


@router.get("/{name}", summary="Show a collection")
def show(resources: Opened, caller: Reader, name: str) -> CollectionOut:
    """A collection and its figures."""
    home = find_home(resources, caller, name)
    with reading(resources.engine) as session:
        return collection_out(session, home, resources.sums)


@router.delete("/{name}", status_code=204, summary="Delete a collection")
def delete(resources: Opened, caller: Admin, name: str) -> None:
    """Takes a collection and all that is in it away."""
    find_home(resources, caller, name)
    delete_collection(resources, caller.tenant, name)
