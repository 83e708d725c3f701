"""The whole road, once: eight steps, each with real parts, and a summary at the end."""

from rich.console import Console

from experiments.definition import load_experiments
from product_index.pictures import LocalPictures
from product_index.settings import Settings as IndexSettings
from recall_plugin.service.shop_search import ShopSearch
from streaming.build import ensure_topics
from streaming.dead_letters import SUFFIX
from streaming.settings import Settings as StreamSettings

from .home import Home, clear_last_run
from .road import as_in_a_shop, catalogue_to_index, change_to_index, logs_to_decision, query_to_exposure
from .stack import Stack
from .summary import example, tell_beginning, tell_searches, tell_summary
from .telling import Telling

STEPS = 8
EXPERIMENT = "uniecs-recall"


def walk(home: Home, console: Console, *, products: int, shoppers: int) -> None:
    """Walk it, and stop everything that was started.

    Raises:
        StackError: a part could not start or failed; the message says what to do.
        ProductIndexError, ExperimentsError, StreamingError: from the rooms.
    """
    telling = Telling(console, steps=STEPS)
    experiment = load_experiments(None)[EXPERIMENT]
    tell_beginning(home, telling)
    with Stack(home.folder, say=telling.say) as stack:
        stack.check_named()
        clear_last_run(home)
        with telling.step("A shop"):
            shop = catalogue_to_index.open_shop(home, telling, products=products)
        with telling.step("An encoder"):
            encoder = catalogue_to_index.open_encoder(home, telling)
        with telling.step("Catalogue to index: Airflow fills a new collection, checks and serves it"):
            milvus = stack.milvus()
            env = home.environment(picture_root=shop.picture_root, milvus_uri=milvus.uri)
            catalogue_to_index.fill_index(stack, telling, env)
        index = IndexSettings(milvus_uri=milvus.uri, catalogue=home.catalogue, uniecs_model=str(home.model))
        pictures = LocalPictures([*shop.pictures.roots, home.arrivals])
        own = ShopSearch(home.funnel)
        own.rebuild(shop.products)
        with telling.step("Change to index: Kafka carries changes, search shows them"):
            broker = stack.kafka()
            env = home.environment(
                picture_root=shop.picture_root, milvus_uri=milvus.uri, bootstrap=broker.bootstrap
            )
            stream = StreamSettings(kafka_bootstrap=broker.bootstrap)
            topics = [stream.changes_topic, stream.changes_topic + SUFFIX]
            ensure_topics(stream, [*topics, stream.exposures_topic, stream.outcomes_topic])
            consumer = change_to_index.start_consumer(stack, home, env)
            changes = change_to_index.send_changes(home, shop, own, stream, telling)
            change_to_index.wait_for_arrival(home, changes, consumer, telling)
            arrived = change_to_index.check_arrival(home, changes, encoder, pictures, index)
            change_to_index.tell_arrival(arrived, telling)
        with telling.step(f"Query to exposure: {shoppers:,} shoppers search, half of them with UniECS"):
            world = query_to_exposure.world_of(shop, changes, pictures)
            served = query_to_exposure.let_them_shop(
                home,
                world,
                own,
                encoder,
                index,
                experiment,
                bootstrap=broker.bootstrap,
                shoppers=shoppers,
                telling=telling,
            )
            tell_searches(served, telling)
        with telling.step("Logs: exposures and outcomes from Kafka to Parquet"):
            logs_to_decision.archive_events(stack, telling, env)
        with telling.step("Logs to decision: Airflow writes the weekly report"):
            report = logs_to_decision.write_report(home, stack, telling, experiment, env)
        if (text := example(home, served)) is not None:
            with telling.step("As in a shop: a sidecar and a service, one question over HTTP"):
                base = own.search(text)
                answer = as_in_a_shop.ask_once(stack, home, env, experiment, text=text, base=base)
                products = served.world.products
                as_in_a_shop.tell(answer, products, telling, text=text, base=base, served=home.served)
        own.close()
    tell_summary(home, served, arrived, report, telling)
