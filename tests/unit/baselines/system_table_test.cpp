#include <gtest/gtest.h>

#include <set>

#include "baselines/published_experiment.h"
#include "baselines/systems.h"
#include "support/clusters.h"
#include "support/doc_table.h"

namespace infinipipe {
namespace {

TEST(SystemTable, HoldsEveryPlannerThenTheAnalyticOnes) {
  ASSERT_GT(systems().size(), planners().size());
  std::set<std::string> names;
  std::set<std::string> titles;
  for (std::size_t i = 0; i < systems().size(); ++i) {
    const SystemRow& row = systems()[i];
    const bool pipeline = i < planners().size();
    EXPECT_EQ(row.planner, pipeline ? &planners()[i] : nullptr) << row.name;
    EXPECT_FALSE(pipeline && row.gathers) << row.name;
    EXPECT_TRUE(names.insert(row.name).second) << row.name;
    EXPECT_TRUE(titles.insert(row.title).second) << row.title;
    EXPECT_STRNE(row.line, "");
  }
  EXPECT_EQ(system_names(), names_of(systems()));
}

// Pipelines are not made without a judge of their plans; here none is judged.
class NoJudge final : public Evaluator {
 public:
  Evaluation evaluate(const Plan&, const CostModel&, ReplicaId) const override { return {}; }
};

TEST(SystemTable, MakesSystemsOfItsNames) {
  SystemContext context = testing::toy_cluster(8);
  context.evaluator = std::make_shared<NoJudge>();
  for (const SystemRow& row : systems()) {
    EXPECT_EQ(make_system(row.name, context)->name(), row.name);
  }
}

TEST(SystemTable, IsThatOfTheDocs) {
  EXPECT_EQ(testing::doc_table("baselines.md", "system"), testing::doc_rows(systems()));
}

TEST(SystemTable, HasTheSystemsOfEveryCalibration) {
  for (const std::string& name : published_experiment_names()) {
    const PublishedExperiment& found = published_experiment(name);
    ASSERT_EQ(found.make.size(), found.planners.size());
    ASSERT_EQ(found.measured.size(), found.planners.size());
    for (const std::string& system : found.planners) EXPECT_EQ(system_row(system).name, system);
  }
}

}  // namespace
}  // namespace infinipipe
